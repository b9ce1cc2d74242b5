"""The report as a whole: notebooks executed, pages built, exhibits numbered, the PDF printed."""
