// The panel that publishes one document, and says when and where it became searchable.

const WAIT_MS = 10000;

/** A button that opens the panel. */
function openPublish(text) {
  const button = element("button", { type: "button", className: "primary", textContent: text });
  button.addEventListener("click", () => showPublish(true));
  return button;
}

function showPublish(open) {
  show($("publish"), open);
  $("publish-toggle").setAttribute("aria-expanded", String(open));
  if (!open) return;
  if (!$("publish-index").value) $("publish-index").value = state.index || "notes";
  if (!$("document").value) $("document").value = JSON.stringify(EXAMPLE, null, 2);
  $("document").focus();
  $("publish").scrollIntoView({ block: "nearest" });
}

function said(kind, ...content) {
  const outcome = $("outcome");
  outcome.className = `note ${kind}`;
  outcome.replaceChildren(...content);
  show(outcome, true);
}

/** This server has no producer half: where one is. */
function noProducer(index) {
  const producer = new URL("/", location.href);
  producer.port = "8081";
  said("warn", element("p", { textContent: "This server only searches. Documents are taken by a producer, on port 8081 by default, and by RabbitMQ:" }),
    code("curl", publishWithCurl(index, producer.href)), code("Python, over RabbitMQ", publishWithPika(index)));
}

async function publish(event) {
  event.preventDefault();
  const index = $("publish-index").value.trim(), body = $("document").value;
  try {
    JSON.parse(body);
  } catch (error) {
    said("bad", `This is no JSON: ${error.message}`);
    return;
  }
  const start = performance.now(), since = () => count(Math.round(performance.now() - start));
  $("send").disabled = true;
  said("", "Publishing…");
  try {
    const path = pathOf(index, `/documents?wait=searchable&timeout_ms=${WAIT_MS}`);
    const { status, answer } = await request(path, { method: "POST", body });
    published(index, status, answer, since());
  } catch (error) {
    if (error.status === 404 && error.code !== "unknown_index" || error.status === 405) noProducer(index);
    else if (error.status === 401) fail(error);
    else refused(error);
  }
  $("send").disabled = false;
}

/** What the server says of documents that it refuses stands in a list. */
function refused(error) {
  const rejected = (error.problem && error.problem.rejected) || [];
  const reasons = rejected.map(({ id, code, detail }) => element("li", { textContent: `${id ? `${id}: ` : ""}${detail} (${code})` }));
  said("bad", error.message, reasons.length ? element("ul", {}, ...reasons) : "");
}

function published(index, status, answer, milliseconds) {
  const text = status === 200
    ? `Searchable after ${milliseconds} ms, at position `
    : `Kept, and not seen by a search yet after ${milliseconds} ms: it will be found. So far at position `;
  const positions = (answer.positions || []).flatMap((position, number) =>
    [...(number ? [", "] : []), element("code", { textContent: position })]);
  const rejected = (answer.rejected || []).map(({ code, detail }) => element("li", { textContent: `Refused: ${detail} (${code})` }));
  const look = element("button", { type: "button", textContent: `Show ${index}` });
  look.addEventListener("click", () => {
    Object.assign(state, { index, query: "", page: 0, filter: {} });
    $("query").value = "";
    loadIndexes();
  });
  said("good", element("p", {}, text, ...(positions.length ? positions : ["–"]), "."), rejected.length ? element("ul", {}, ...rejected) : "", look);
  if (indexes.every(({ name }) => name !== index) || state.index === index) loadIndexes();
}
