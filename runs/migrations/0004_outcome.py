"""A run's outcome, computed by the database, and the index by which lists find a state."""

from django.db import migrations, models

OUTCOME = "CASE WHEN state IN ('cancelled', 'completed', 'failed') THEN state ELSE 'open' END"
KIND = {"sqlite": "VIRTUAL", "postgresql": "STORED"}  # SQLite adds no stored one to a table that is there


def forwards(apps, schema_editor):
    kind = KIND[schema_editor.connection.vendor]
    schema_editor.execute(
        f"ALTER TABLE runs_workflowrun ADD COLUMN outcome varchar(16) GENERATED ALWAYS AS ({OUTCOME}) {kind}"
    )


def backwards(apps, schema_editor):
    schema_editor.execute("ALTER TABLE runs_workflowrun DROP COLUMN outcome")


class Migration(migrations.Migration):
    dependencies = [("runs", "0003_append_only")]
    operations = [
        migrations.SeparateDatabaseAndState(
            [migrations.RunPython(forwards, backwards)],
            [
                migrations.AddField(
                    "workflowrun",
                    "outcome",
                    models.GeneratedField(
                        expression=models.Case(
                            models.When(state__in=["cancelled", "completed", "failed"], then=models.F("state")),
                            default=models.Value("open"),
                        ),
                        output_field=models.CharField(max_length=16),
                        db_persist=True,
                    ),
                )
            ],
        ),
        migrations.AddIndex("workflowrun", models.Index(fields=["tenant", "outcome", "id"], name="run_by_outcome")),
    ]
