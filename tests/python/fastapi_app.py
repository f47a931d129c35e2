"""The FastAPI app of docs/apps/flask.md."""

from typing import Annotated

from fastapi import FastAPI, Header, Request

from identity import identity

application = FastAPI()


@application.get("/whoami")
@application.get("/open/whoami")
def whoami(request: Request, x_user: Annotated[str | None, Header()] = None):
    folded = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in request.headers.items()}
    return {"user": x_user or "", "identity": identity(folded)}
