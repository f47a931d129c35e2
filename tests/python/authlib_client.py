"""Authlib as an app of the operator's own that uses the gate as its provider: discovery, a login with PKCE, the ID token, userinfo, a renewal,
a narrower token, introspection, revocation, and a token of its own. The user's browser is played by agree.py. Arguments: the issuer, and the
resource."""

import os
import sys

import jwt
import requests
from agree import BACK, agree
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
ISSUER, RESOURCE = sys.argv[1:]
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

metadata = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=30).json()
assert metadata["issuer"] == ISSUER, metadata
endpoint = metadata["token_endpoint"]
app = OAuth2Session(
    "rp",
    "secret",
    scope="openid profile email api",
    redirect_uri=BACK,
    code_challenge_method="S256",
    token_endpoint_auth_method="client_secret_basic",
)
verifier, nonce = generate_token(48), generate_token(20)
url, state = app.create_authorization_url(
    metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce, resource=RESOURCE
)
answer = agree(url)
tokens = app.fetch_token(endpoint, authorization_response=answer, state=state, code_verifier=verifier)

key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(tokens["id_token"])
claims = jwt.decode(tokens["id_token"], key, algorithms=["ES256"], issuer=ISSUER, audience="rp")
assert claims["nonce"] == nonce and claims["email"] == "ada@example.com", claims
assert app.get(metadata["userinfo_endpoint"]).json()["sub"] == claims["sub"]

renewed = app.refresh_token(endpoint, refresh_token=tokens["refresh_token"])
assert renewed["access_token"] != tokens["access_token"]

narrow = app.fetch_token(
    endpoint,
    grant_type=EXCHANGE,
    subject_token=renewed["access_token"],
    subject_token_type=ACCESS_TOKEN,
    scope="api",
    resource=f"{RESOURCE}/part",
)
assert narrow["scope"] == "api" and narrow["issued_token_type"] == ACCESS_TOKEN, narrow
told = app.introspect_token(metadata["introspection_endpoint"], token=narrow["access_token"]).json()
assert told["active"] and told["aud"] == f"{RESOURCE}/part", told

app.revoke_token(metadata["revocation_endpoint"], token=renewed["refresh_token"])
told = app.introspect_token(metadata["introspection_endpoint"], token=narrow["access_token"]).json()
assert told == {"active": False}, told

own = OAuth2Session("rp", "secret", scope="api").fetch_token(endpoint, grant_type="client_credentials", resource=RESOURCE)
assert own["scope"] == "api" and "refresh_token" not in own, own
print("ok")
