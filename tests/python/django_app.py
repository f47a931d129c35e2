"""The app of docs/apps/django.md: whoever the gate names is signed in, and a form is protected against other sites."""

import os
from pathlib import Path
from urllib.parse import unquote

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of the tests alone",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ["APP_FOLDER"]) / "db.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.GateUserMiddleware",
    ],
    AUTHENTICATION_BACKENDS=[f"{__name__}.GateUserBackend"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    CSRF_COOKIE_SECURE=True,
    SESSION_COOKIE_SECURE=True,
)
django.setup()

from django.contrib.auth.backends import RemoteUserBackend  # noqa: E402
from django.contrib.auth.middleware import RemoteUserMiddleware  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.template import Context, Engine  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import re_path  # noqa: E402

from identity import identity  # noqa: E402


class GateUserMiddleware(RemoteUserMiddleware):
    header = "HTTP_X_USER_ID"


class GateUserBackend(RemoteUserBackend):
    def clean_username(self, username):
        return unquote(username)

    def configure_user(self, request, user, created=True):
        groups = request.META.get("HTTP_X_USER_GROUPS", "").split(",")
        user.first_name = unquote(request.META.get("HTTP_X_USER_NAME", ""))[:150]
        user.email = unquote(request.META.get("HTTP_X_USER_EMAIL", ""))[:254]
        user.is_staff = "staff" in map(unquote, groups)
        user.save()
        return user


def whoami(request):
    return JsonResponse({"user": request.user.get_username(), "identity": identity(request.META)})


def account(request):
    user = request.user
    return JsonResponse({"username": user.username, "name": user.first_name, "email": user.email, "staff": user.is_staff})


def form(request):
    if request.method == "POST":
        return HttpResponse(f"{request.user.get_username()} sent {request.POST['words']}")
    page = Engine().from_string('<form method="post">{{ token }}</form>')
    return HttpResponse(page.render(Context({"token": get_token(request)})))


urlpatterns = [re_path("^(?:open/)?whoami$", whoami), re_path("^account$", account), re_path("^form$", form)]
call_command("migrate", verbosity=0)
application = get_wsgi_application()
