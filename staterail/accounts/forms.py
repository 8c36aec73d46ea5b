"""Forms of the sign-in pages."""

from typing import Any

from django.contrib.auth.forms import SetPasswordForm

from staterail.accounts.models import User


class FirstPassword(SetPasswordForm):  # type: ignore[type-arg]
    """A password to come back with; both fields empty: this session only."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        for field in self.fields.values():
            field.required = False
        self.fields["new_password1"].help_text = "12 characters or more. Leave both empty to set one later."

    def clean(self) -> dict[str, Any]:
        if not self.data.get("new_password1") and not self.data.get("new_password2"):
            self.cleaned_data = {"new_password1": "", "new_password2": ""}
            self.errors.clear()
            return self.cleaned_data
        return super().clean() or self.cleaned_data
