//! The messages of `envoy.service.auth.v3.Authorization`, as far as they are used here. Other fields of a question (certificates,
//! metadata, a body) are ignored.
//!
//! Source: `envoy/service/auth/v3/external_auth.proto`, `attribute_context.proto`, `envoy/config/core/v3/base.proto`,
//! `envoy/config/core/v3/address.proto`, `envoy/type/v3/http_status.proto`, `google/rpc/status.proto`.

use std::collections::BTreeMap;

/// What a proxy asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    /// All that is told.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// The request, and what surrounds it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeContext {
    /// Where it comes from: the client, as the proxy knows it.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The request.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    /// What the proxy's configuration says beside, for this route.
    #[prost(btree_map = "string, string", tag = "10")]
    pub context_extensions: BTreeMap<String, String>,
}

/// One end of the connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Peer {
    /// Its address.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

/// An address; of a Unix socket there is none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// IP and port.
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// IP and port.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketAddress {
    /// The IP address as text.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// The request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// As HTTP has it.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// An HTTP request without its body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpRequest {
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Names in lower case; what came more than once stands there once, with commas between. Empty where `header_map` is
    /// sent.
    #[prost(btree_map = "string, string", tag = "3")]
    pub headers: BTreeMap<String, String>,
    /// Path and query.
    #[prost(string, tag = "4")]
    pub path: String,
    /// The authority.
    #[prost(string, tag = "5")]
    pub host: String,
    /// `https` or `http`.
    #[prost(string, tag = "6")]
    pub scheme: String,
    /// The headers as they came, with `encode_raw_headers`.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// Headers, line by line.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderMap {
    /// The lines.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// One line.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value as text.
    #[prost(string, tag = "2")]
    pub value: String,
    /// The value as bytes, in the place of `value`.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// What the proxy is to do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckResponse {
    /// 0 for a yes.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// How.
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
}

/// How a verdict is carried out.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HttpResponse {
    /// The client is answered with this.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// The request passes, changed like this.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// A status of gRPC (`google.rpc.Status`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// An answer in the app's place.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeniedHttpResponse {
    /// Its status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Its body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// A status of HTTP.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpStatus {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// What is changed on the way to the app, and back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OkHttpResponse {
    /// What the request gets.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// What it loses. Envoy removes after it has set, so what is set may not stand here.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    /// What the answer gets.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
}

/// A header that is set or added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValueOption {
    /// The line.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// Whether it is added. Envoys from before `append_action` (and, for what a request gets, all) go by this one.
    #[prost(message, optional, tag = "2")]
    pub append: Option<BoolValue>,
    /// What happens where there is one already.
    #[prost(enumeration = "AppendAction", tag = "3")]
    pub append_action: i32,
}

/// `google.protobuf.BoolValue`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BoolValue {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// What happens where there is a header of that name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AppendAction {
    /// It is there beside.
    AppendIfExistsOrAdd = 0,
    /// The old one stays.
    AddIfAbsent = 1,
    /// It takes the place of the old one.
    OverwriteIfExistsOrAdd = 2,
}
