"""A gRPC app that knows no types: every message is bytes. Its port is the argument."""

import hashlib
import sys
import time
from concurrent import futures

import grpc

MIB = 1 << 20


def upper(request, context):
    user = dict(context.invocation_metadata()).get("x-user", "")
    context.send_initial_metadata((("x-begun", "yes"),))
    context.set_trailing_metadata((("x-user-seen", user), ("x-bytes-bin", b"\x00\xff")))
    return request.upper()


def gather(requests, context):
    size, digest = 0, hashlib.sha256()
    for request in requests:
        size += len(request)
        digest.update(request)
    return f"{size} {digest.hexdigest()}".encode()


def spread(request, context):
    for number in range(int(request)):
        yield bytes([number % 256]) * MIB
    context.set_trailing_metadata((("x-sent", request.decode()),))


def talk(requests, context):
    for request in requests:
        yield b"heard " + request


def remaining(request, context):
    return str(context.time_remaining()).encode()


def sleep(request, context):
    while context.is_active():
        time.sleep(0.01)
    return b""


def fail(request, context):
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "zu viel – später 100%")


METHODS = {
    "Upper": grpc.unary_unary_rpc_method_handler(upper),
    "Gather": grpc.stream_unary_rpc_method_handler(gather),
    "Spread": grpc.unary_stream_rpc_method_handler(spread),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
}


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return METHODS.get(details.method.rpartition("/")[2])


server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((Echo(),))
if server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}") == 0:
    sys.exit("the port is taken")
server.start()
server.wait_for_termination()
