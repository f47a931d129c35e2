"""Plays a browser whose user signs in and lets a client in."""

import http.client
import re
from html import unescape
from urllib.parse import urlencode, urljoin, urlsplit

BACK = "http://127.0.0.1:33418/callback"


def agree(url):
    """Follows redirects with cookies, signs in as Ada, presses "Allow"."""
    jars, method, body, origin = {}, "GET", None, None
    for _ in range(30):
        parts = urlsplit(url)
        jar = jars.setdefault(parts.hostname, {})
        headers = {
            "accept": "text/html",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
            "sec-fetch-site": "same-origin" if origin else "none",
            "cookie": "; ".join(f"{name}={value}" for name, value in jar.items()),
        }
        if body:
            headers |= {"content-type": "application/x-www-form-urlencoded", "origin": origin}
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.request(method, f"{parts.path or '/'}?{parts.query}", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        for line in answer.headers.get_all("set-cookie") or []:
            name, value = re.match(r"([^=]+)=([^;]*)", line).groups()
            jar.pop(name, None)
            if value and "max-age=0" not in line.lower():
                jar[name] = value
        method, body, origin = "GET", None, None
        if 300 <= answer.status < 400:
            url = urljoin(url, answer.headers["location"])
            if url.startswith(BACK):
                return url
            continue
        action = re.search(r'<form[^>]* action="([^"]*)"', text)
        assert action, (answer.status, url, text)
        consent = re.search(r'name="consent" value="([^"]*)"', text)
        method, origin = "POST", f"{parts.scheme}://{parts.netloc}"
        body = urlencode({"consent": consent[1], "decision": "allow"}) if consent else "user=ada"
        url = urljoin(url, unescape(action[1]))
    raise AssertionError("too many steps")
