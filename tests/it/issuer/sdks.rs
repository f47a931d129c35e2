//! The real SDKs of the Model Context Protocol log in at `sidegate demo --mcp`, call a tool, and renew; and its conformance package finds no fault.

use std::{process::Command, time::Duration};

use crate::support::{house::sidegate, node_provider::node, ports, process::Process, python};

/// The demo, and the address of its MCP server as it tells users.
pub async fn demo() -> (Process, String) {
    let port = ports::free_address().port().to_string();
    let mut command = sidegate();
    command.args(["demo", "--mcp", "--port", &port]);
    let mut demo = Process::start(command);
    let server = demo
        .wait_for("the line to add to a client", |line| {
            let (_, address) = line.split_once("claude mcp add --transport http demo ")?;
            Some(address.trim().to_owned())
        })
        .await;
    demo.wait_for("that it listens", |line| {
        line.contains("listening").then_some(())
    })
    .await;
    (demo, server)
}

async fn succeed(script: Command, demo: &Process) {
    let mut script = Process::start(script);
    let status = script.ended(Duration::from_mins(2)).await;
    assert!(status.success(), "{}\n{}", script.log(), demo.log());
}

#[tokio::test]
async fn the_typescript_sdk_logs_in_calls_a_tool_and_renews() {
    let (demo, server) = demo().await;
    let mut script = node("mcp.mjs");
    script.arg(&server);
    succeed(script, &demo).await;
}

#[tokio::test]
async fn the_python_sdk_logs_in_calls_a_tool_and_renews() {
    let (demo, server) = demo().await;
    let mut script = python::program("python");
    script.arg("mcp_client.py").arg(&server);
    succeed(script, &demo).await;
}

#[tokio::test]
async fn the_scenarios_of_the_conformance_package_succeed() {
    let home = super::home().await;
    let (house, resource) = (&home.house, home.house.url("/mcp"));
    let port = ports::free_address().port().to_string();
    let mut script = node("conformance.mjs");
    script.args([&house.public_url, &resource, &port]);
    succeed(script, &house.process).await;
}
