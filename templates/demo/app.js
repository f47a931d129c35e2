"use strict";

const element = (id) => document.getElementById(id);

function light(id, on) {
  element(id).textContent = on ? "live" : "off";
  element(id).classList.toggle("on", on);
}

const clock = new EventSource("/events");
clock.onopen = () => light("clock-state", true);
clock.onerror = () => light("clock-state", false);
clock.onmessage = (event) => { element("clock").textContent = event.data; };

let socket;
let wait = 1000;

function note(line) {
  const log = element("echo-log");
  log.textContent = (log.textContent + line + "\n").slice(-4000);
  log.scrollTop = log.scrollHeight;
}

function connect() {
  const address = new URL("/ws", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(address);
  socket.onopen = () => { wait = 1000; light("echo-state", true); };
  socket.onmessage = (event) => note("← " + event.data);
  socket.onclose = () => {
    light("echo-state", false);
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 30000);
  };
}

element("echo").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) {
    note("not connected");
    return;
  }
  const text = element("echo-text").value;
  note("→ " + text);
  socket.send(text);
});

connect();
