"""The Celery application. A message is a doorbell: the database says what there is to do."""

import os

from celery import Celery

from staterail.core import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "staterail.settings")

broker.register()
app = Celery("staterail")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
