"""Answers past their time are found by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.AddIndex("idempotencyrecord", models.Index(fields=["created_at"], name="answer_by_age")),
    ]
