"use strict";
// Everything works without this script. It selects all letters of a page, checks that a payload is JSON, and updates a
// progress page without reloading it.
const all = document.getElementById("all");
if (all) {
  const boxes = Array.from(document.querySelectorAll('input[name="id"]'));
  all.closest("[hidden]").hidden = false;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
}
const payload = document.getElementById("payload");
if (payload) {
  payload.addEventListener("input", () => {
    let problem = "";
    try { JSON.parse(payload.value); } catch (error) { problem = "This is not JSON: " + error.message; }
    payload.setCustomValidity(problem);
  });
}
function refresh() {
  const live = document.querySelector("[data-live]");
  if (!live) return;
  const again = () => setTimeout(refresh, 1000);
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document";
  request.onload = () => {
    const fresh = request.response && request.response.getElementById(live.id);
    if (fresh) live.replaceWith(document.adoptNode(fresh)); else location.reload();
    again();
  };
  request.onerror = again;
  request.send();
}
setTimeout(refresh, 1000);
