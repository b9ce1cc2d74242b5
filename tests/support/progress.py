"""The progress of a study, kept for tests."""


class Progress:
    """Keeps the events that it receives."""

    def __init__(self):
        self.begins, self.forecasts, self.remaining_s, self.notes = [], [], [], []

    def begin(self, runs, finished, expected):
        self.begins.append((len(runs), finished, expected.duration_s))

    def run_started(self, run):
        pass

    def run_forecast(self, run, forecast):
        self.forecasts.append((run.run_id, forecast))

    def run_ended(self, run, record, remaining_s):
        self.remaining_s.append(remaining_s)

    def note(self, text):
        self.notes.append(text)
