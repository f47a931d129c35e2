"""What an app behind a gateway could take for who somebody is: one name for every spelling that is folded into it."""

NAMES = [
    "REMOTE_USER",
    "AUTH_USER",
    "LOGON_USER",
    "HTTP_REMOTE_USER",
    "HTTP_X_USER",
    "HTTP_X_USER_ID",
    "HTTP_X_USER_EMAIL",
    "HTTP_X_USER_GROUPS",
    "HTTP_X_REMOTE_USER",
    "HTTP_X_FORWARDED_USER",
    "HTTP_X_FORWARDED_EMAIL",
    "HTTP_X_AUTH_REQUEST_USER",
    "HTTP_X_WEBAUTH_USER",
]


def identity(environ):
    return {name: environ[name] for name in NAMES if environ.get(name)}
