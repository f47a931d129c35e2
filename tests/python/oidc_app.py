"""The app of docs/authorization-server.md that signs its users in at the gate, by mozilla-django-oidc. APP_FOLDER has the page's settings.py,
and the folder `wiki` beside it."""

import os
import sys
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(os.environ["APP_FOLDER"])
sys.path.append(str(FOLDER))
told = {"os": os, "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]}
exec((FOLDER / "settings.py").read_text(), told)
settings.configure(
    SECRET_KEY="of the tests alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    # The log has what went wrong.
    DEBUG_PROPAGATE_EXCEPTIONS=True,
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    **{name: value for name, value in told.items() if name.isupper()},
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import include, path  # noqa: E402


def whoami(request):
    user = request.user
    return JsonResponse({"email": getattr(user, "email", None), "token": get_token(request)})


urlpatterns = [path("oidc/", include("mozilla_django_oidc.urls")), path("", whoami), path("page", whoami)]
call_command("migrate", verbosity=0)
application = get_wsgi_application()
