// Commands to copy: the search that is shown, and how to publish the first document.

const inShell = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
/** A Python literal: JSON is one, but for three words. */
const inPython = (value) => JSON.stringify(value, null, 1).replace(/\n\s*/g, " ")
  .replace(/("(?:[^"\\]|\\.)*")|\b(true|false|null)\b/g, (all, text, word) => text || { true: "True", false: "False", null: "None" }[word]);
const here = (path) => new URL(path, location.href).href;

function searchAsCurl() {
  const lines = [`curl ${inShell(here(pathOf(state.index, "/search")))}`, "-H 'content-type: application/json'"];
  if (key) lines.push("-H \"authorization: Bearer $WARREN_KEY\"");
  lines.push(`-d ${inShell(JSON.stringify(shortRequest()))}`);
  return lines.join(" \\\n  ");
}

function searchAsPython() {
  const headers = `{"content-type": "application/json"${key ? ', "authorization": "Bearer " + os.environ["WARREN_KEY"]' : ""}}`;
  return `import json, ${key ? "os, " : ""}urllib.request
search = ${inPython(shortRequest())}
request = urllib.request.Request(${inPython(here(pathOf(state.index, "/search")))}, json.dumps(search).encode(), ${headers})
with urllib.request.urlopen(request) as answer:
    for hit in json.load(answer)["hits"]:
        print(hit["score"], hit["id"])
`;
}

const EXAMPLE = { id: "first", title: "The first document", text: "Whatever is published can be found a moment later." };

function publishWithCurl(index, server = here("")) {
  const lines = [`curl ${inShell(`${server}${pathOf(index, "/documents")}`)}`, "-H 'content-type: application/json'"];
  if (key) lines.push("-H \"authorization: Bearer $WARREN_KEY\"");
  lines.push(`-d ${inShell(JSON.stringify(EXAMPLE))}`);
  return lines.join(" \\\n  ");
}

function publishWithPika(index) {
  return `import json, pika
channel = pika.BlockingConnection(pika.URLParameters("amqp://guest:guest@127.0.0.1:5672/%2f")).channel()
channel.confirm_delivery()
document = ${inPython(EXAMPLE)}
channel.basic_publish("warren.documents", ${inPython(index)}, json.dumps(document),
                      pika.BasicProperties(delivery_mode=2), mandatory=True)
`;
}

/** Some lines of code with a button that copies them. */
function code(title, text) {
  const lines = element("pre", { textContent: text, tabIndex: 0 });
  const copy = element("button", { type: "button", className: "copy", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      // Not every address may use the clipboard: the text is selected, ready to be copied by hand.
      getSelection().selectAllChildren(lines);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return element("figure", { className: "code" }, element("figcaption", {}, element("span", { textContent: title }), copy), lines);
}

/** The panel with the search that is shown. */
function showSnippets() {
  if (!$("snippets").open || !state.index) return;
  $("snippets-code").replaceChildren(code("curl", searchAsCurl()), code("Python", searchAsPython()));
}
