"""The app of docs/apps/django.md: whoever the gate names is signed in, and a form is protected against other sites."""

import os
from pathlib import Path

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
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    CSRF_COOKIE_SECURE=True,
    SESSION_COOKIE_SECURE=True,
)
django.setup()

from django.contrib.auth.middleware import RemoteUserMiddleware  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.template import Context, Engine  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import re_path  # noqa: E402

from identity import identity  # noqa: E402


class GateUserMiddleware(RemoteUserMiddleware):
    header = "HTTP_X_USER"


def whoami(request):
    return JsonResponse({"user": request.user.get_username(), "identity": identity(request.META)})


def form(request):
    if request.method == "POST":
        return HttpResponse(f"{request.user.get_username()} sent {request.POST['words']}")
    page = Engine().from_string('<form method="post">{{ token }}</form>')
    return HttpResponse(page.render(Context({"token": get_token(request)})))


urlpatterns = [re_path("^(?:open/)?whoami$", whoami), re_path("^form$", form)]
call_command("migrate", verbosity=0)
application = get_wsgi_application()
