"""The progress of a study, kept for tests."""


class Progress:
    """Keeps the events that it receives."""

    def __init__(self):
        self.begins, self.forecasts, self.remaining_s, self.notes = [], [], [], []
        self.waits, self.disturbed = [], []

    def begin(self, runs, finished, expected):
        self.begins.append((len(runs), finished, expected.duration_s))

    def run_started(self, run):
        pass

    def run_waits(self, run, reason, left_s):
        self.waits.append((run.run_id, reason, left_s))

    def run_disturbed(self, run, record, again):
        self.disturbed.append((run.run_id, record.tries, again))

    def run_forecast(self, run, forecast):
        self.forecasts.append((run.run_id, forecast))

    def run_ended(self, run, record, remaining_s):
        self.remaining_s.append(remaining_s)

    def note(self, text):
        self.notes.append(text)
