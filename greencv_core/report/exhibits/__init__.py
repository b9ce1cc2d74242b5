"""Figures and tables as a page shows them, with captions, data and the runs behind them."""
