"""Running a study: planning, queue, workers, one metered training, progress and estimates."""
