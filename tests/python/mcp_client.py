"""The real Python SDK of the Model Context Protocol against a gate: from 401 to a tool call, and through a renewal. The user's browser is
played by agree.py. The argument is the address of the MCP server."""

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from agree import BACK, agree
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

SERVER = sys.argv[1]


class Storage:
    tokens = None
    client = None
    times = 0

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        self.times += 1

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main():
    storage, asked = Storage(), []

    async def callback():
        query = parse_qs(urlsplit(await asyncio.to_thread(agree, asked[-1])).query)
        return AuthorizationCodeResult(code=query["code"][0], state=query["state"][0], iss=query["iss"][0])

    async def redirect(url):
        asked.append(url)

    async def whoami():
        provider = OAuthClientProvider(
            server_url=SERVER,
            client_metadata=OAuthClientMetadata(client_name="Python SDK", redirect_uris=[BACK]),
            storage=storage,
            redirect_handler=redirect,
            callback_handler=callback,
        )
        async with httpx2.AsyncClient(auth=provider, timeout=30) as client:
            async with Client(streamable_http_client(SERVER, http_client=client)) as session:
                first = await session.call_tool("whoami", {})
                # What an access token that has ended brings: a renewal, and nobody is asked.
                provider.context.current_tokens.access_token = "sga_over"
                provider.context.token_expiry_time = 1
                second = await session.call_tool("add", {"a": 1, "b": 2})
                return first.content[0].text, second.content[0].text

    who, sum = await whoami()
    assert "Ada" in who, who
    assert sum.startswith("3"), sum
    assert len(asked) == 1, asked
    assert storage.times == 2, storage.times
    print("ok")


asyncio.run(main())
