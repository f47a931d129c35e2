//! What becomes of a request's body that nobody reads, over HTTP/1.1.

use tokio::task::yield_now;

/// Gives hyper a turn between the work on a request and its answer. By now nobody holds a body that is not to be read. hyper takes the
/// rest of it if that has come already, and otherwise ends the connection. It says so in the answer (`Connection: close`) only if it
/// has done that before: a client that is not told loses its next request.
pub(super) async fn settle() {
    yield_now().await;
}
