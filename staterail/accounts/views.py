"""Signing in and out."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from staterail.accounts import throttle
from staterail.accounts.forms import FirstPassword
from staterail.accounts.services import user_of_link
from staterail.core.errors import RateLimited


class Login(LoginView):
    """Five failures a minute for an account and address, then a pause."""

    template_name = "accounts/login.html"
    redirect_authenticated_user = True

    def _key(self) -> str:
        return f"{self.request.POST.get('username', '')[:150]}|{self.request.META.get('REMOTE_ADDR', '')}"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            throttle.logins.check(self._key())
        except RateLimited as error:
            messages.error(request, error.message)
            answer = self.render_to_response(self.get_context_data(form=AuthenticationForm(request)), status=429)
            answer["Retry-After"] = str(round(error.retry_after or 60))
            return answer
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: Any) -> HttpResponse:
        throttle.logins.add(self._key())
        return super().form_invalid(form)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def login_once(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """A one-time link. GET shows a page and uses nothing up: mail scanners follow links too."""
    with transaction.atomic():
        user = user_of_link(uid, token, lock=request.method == "POST")
        if user is None:
            return render(request, "accounts/link_over.html", status=404)
        form = FirstPassword(user, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            if form.cleaned_data["new_password1"]:
                form.save()
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("home")
    return render(request, "accounts/login_once.html", {"form": form, "person": user})
