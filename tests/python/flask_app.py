"""The Flask app of docs/apps/flask.md."""

from flask import Flask, request

from identity import identity

application = Flask(__name__)


@application.get("/whoami")
@application.get("/open/whoami")
def whoami():
    return {"user": request.headers.get("X-User", ""), "identity": identity(request.environ)}
