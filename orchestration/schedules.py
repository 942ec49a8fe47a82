"""What runs by the clock.

What belongs here: schedules. What does not: jobs (`jobs.py`), and what waits for the outside world (`sensors/`).
"""

from dagster import DefaultScheduleStatus, ScheduleDefinition

from orchestration.jobs import housekeeping

default_schedules = [
    ScheduleDefinition(
        name="nightly_housekeeping",
        job=housekeeping,
        cron_schedule="17 3 * * *",
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
    )
]
