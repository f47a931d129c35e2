"""A gRPC client of the gate: grpc_client.py HOST:PORT WHAT [COOKIE]. Ends well when all is as it should be."""

import hashlib
import sys
import time

import grpc

MIB = 1 << 20
TARGET, WHAT = sys.argv[1:3]
METADATA = (("cookie", sys.argv[3]),) if len(sys.argv) > 3 else ()
# Generous: other tests load the machine.
LONG = 120

channel = grpc.insecure_channel(TARGET, options=[("grpc.enable_http_proxy", 0)])


def unary(method, request=b"", timeout=LONG, service="echo.Echo"):
    return channel.unary_unary(f"/{service}/{method}").with_call(request, timeout=timeout, metadata=METADATA)


def refused(method, service="echo.Echo", timeout=LONG):
    try:
        unary(method, timeout=timeout, service=service)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"{method} is answered")


def allowed():
    answer, call = unary("Upper", b"hello")
    trailers = dict(call.trailing_metadata())
    assert answer == b"HELLO", answer
    assert dict(call.initial_metadata())["x-begun"] == "yes"
    assert trailers["x-user-seen"] == "ada", trailers
    assert trailers["x-bytes-bin"] == b"\x00\xff", trailers
    # A header of the client's own is not believed.
    forged = METADATA + (("x-user", "mallory"), ("x_user", "mallory"))
    _, call = channel.unary_unary("/echo.Echo/Upper").with_call(b"", timeout=LONG, metadata=forged)
    assert dict(call.trailing_metadata())["x-user-seen"] == "ada"

    parts = [b"one", b"two", b"three"]
    gather = channel.stream_unary("/echo.Echo/Gather")
    expected = f"11 {hashlib.sha256(b''.join(parts)).hexdigest()}".encode()
    assert gather(iter(parts), timeout=LONG, metadata=METADATA) == expected

    spread = channel.unary_stream("/echo.Echo/Spread")(b"3", timeout=LONG, metadata=METADATA)
    assert [len(part) for part in spread] == [MIB] * 3
    assert dict(spread.trailing_metadata())["x-sent"] == "3"

    # Each waits for the other: nothing on the way gathers what it should pass on.
    heard = []

    def words():
        for number in range(20):
            while len(heard) < number:
                time.sleep(0.001)
            yield f"word {number}".encode()

    for answer in channel.stream_stream("/echo.Echo/Talk")(words(), timeout=LONG, metadata=METADATA):
        heard.append(answer)
    assert heard == [f"heard word {number}".encode() for number in range(20)], heard

    code, details = refused("Fail")
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "zu viel – später 100%"), (code, details)
    code, _ = refused("NoSuchMethod")
    assert code == grpc.StatusCode.UNIMPLEMENTED, code


def deadline():
    answer, _ = unary("Remaining", timeout=90)
    assert 0 < float(answer) <= 90, answer
    code, _ = refused("Sleep", timeout=1)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
    # The connection is as good as before.
    assert unary("Upper", b"x")[0] == b"X"


def large():
    part = bytes(range(256)) * (MIB // 256)
    digest = hashlib.sha256()
    for _ in range(100):
        digest.update(part)
    answer = channel.stream_unary("/echo.Echo/Gather")(
        (part for _ in range(100)), timeout=LONG * 4, metadata=METADATA
    )
    assert answer == f"{100 * MIB} {digest.hexdigest()}".encode(), answer
    size = 0
    for number, answer in enumerate(channel.unary_stream("/echo.Echo/Spread")(b"100", timeout=LONG * 4, metadata=METADATA)):
        assert answer == bytes([number]) * MIB, number
        size += len(answer)
    assert size == 100 * MIB, size


def signed_out():
    code, details = refused("Upper")
    assert code == grpc.StatusCode.UNAUTHENTICATED, (code, details)
    code, details = None, None
    try:
        for _ in channel.stream_stream("/echo.Echo/Talk")(iter([b"x"]), timeout=LONG):
            raise AssertionError("a stream is answered")
    except grpc.RpcError as error:
        code = error.code()
    assert code == grpc.StatusCode.UNAUTHENTICATED, code


def forbidden():
    code, details = refused("Upper", service="admin.Admin")
    assert code == grpc.StatusCode.PERMISSION_DENIED, (code, details)


def away():
    code, details = refused("Upper")
    assert code == grpc.StatusCode.UNAVAILABLE, (code, details)


{"allowed": allowed, "deadline": deadline, "large": large, "signed-out": signed_out, "forbidden": forbidden, "away": away}[WHAT]()
print("as it should be")
