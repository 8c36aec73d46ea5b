from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "staterail.accounts"
    label = "accounts"
