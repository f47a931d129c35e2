//! The tests of the whole: the real `sidegate` binary, spoken to over real sockets. Written from what a user is
//! promised, not from the code.

#![expect(
    unreachable_pub,
    reason = "the support modules are written as a library"
)]

mod account;
mod admin;
mod allow_lists;
mod answers;
mod app_token;
mod apps;
mod assertion;
mod audit;
mod bearer;
mod check_online;
mod claims;
mod client_certificates;
mod command_line;
mod connections;
mod deploy;
mod doors;
mod endpoints;
mod forward_auth;
mod headers;
mod introspection;
mod issuer;
mod journey;
mod limits;
mod live;
mod logging;
mod login;
mod misbehaviour;
mod operations;
mod paths;
mod provider_logout;
mod provider_reach;
mod providers;
mod proxy_bodies;
mod proxy_protocol;
mod proxy_protocols;
mod public_name;
mod rate_limits;
mod records;
mod redirects;
mod regression;
mod reload;
mod renewal;
mod replicas;
mod routes;
mod session;
mod several_apps;
mod spoofing;
mod step_up;
mod stores;
mod support;
mod support_works;
mod throttle;
mod token_exchange;
mod tokens;
mod upstream_answers;
mod upstreams;
mod users;
mod websocket_http2;
