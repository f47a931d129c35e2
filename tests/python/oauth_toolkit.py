"""An authorization server of django-oauth-toolkit, with users, clients and the API that is asked who somebody is."""

import os
from pathlib import Path

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of the tests alone",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    # Slow ones are not what is tested here.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ["APP_FOLDER"]) / "db.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    MIDDLEWARE=["oauth2_provider.middleware.OAuth2TokenMiddleware"],
    AUTHENTICATION_BACKENDS=[
        "oauth2_provider.backends.OAuth2Backend",
        "django.contrib.auth.backends.ModelBackend",
    ],
    OAUTH2_PROVIDER={
        "SCOPES": {
            "read_profile": "",
            "write_profile": "",
            "admin": "",
            "read": "",
            "write": "",
            "introspection": "",
        },
        "ACCESS_TOKEN_EXPIRE_SECONDS": 600,
    },
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider.decorators import protected_resource  # noqa: E402
from oauth2_provider.models import get_application_model  # noqa: E402


@protected_resource()
def me(request):
    user = request.resource_owner
    return JsonResponse({"id": user.pk, "username": user.get_username(), "email": user.email})


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("api/me", me),
]
call_command("migrate", verbosity=0)
Application = get_application_model()
users = get_user_model().objects
if not users.exists():
    users.create_user("ada", "ada@example.com", "lovelace")
    users.create_user("bob", "bob@example.com", "builder")
    for name, grant in [
        ("gate", Application.GRANT_AUTHORIZATION_CODE),
        ("mobile", Application.GRANT_PASSWORD),
        ("nightly", Application.GRANT_CLIENT_CREDENTIALS),
        ("stranger", Application.GRANT_CLIENT_CREDENTIALS),
    ]:
        Application.objects.create(
            name=name,
            client_id=name,
            client_secret=f"{name}-secret",
            client_type=Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=grant,
            redirect_uris="http://localhost/callback",
        )
application = get_wsgi_application()
