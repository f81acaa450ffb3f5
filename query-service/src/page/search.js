// Searching as one types, and what is shown of the answer.

let running = null, timer = 0;

function wipe() {
  $("hits").replaceChildren();
  for (const id of ["error", "partial", "empty", "pager", "snippets"]) show($(id), false);
}

function empty(title, ...more) {
  $("empty").replaceChildren(element("strong", { textContent: title }), ...more);
  show($("empty"), true);
}

/** Nothing there yet: how to change that. */
function welcome() {
  const name = state.index || "notes";
  wipe();
  show($("facets"), false);
  $("status").textContent = "";
  empty(state.index ? "This index has no documents yet" : "There are no indexes yet",
    element("p", { textContent: "Publish a document here, or from anywhere: the index comes to life with its first one." }),
    element("p", {}, openPublish("Publish a document here")),
    code("curl", publishWithCurl(name)), code("Python, over RabbitMQ", publishWithPika(name)),
    code("From files", `warren publish --server ${inShell(here("").replace(/\/$/, ""))} --index ${name} FILE…`));
}

function render(answer) {
  wipe();
  show($("lock"), false);
  const total = answer.total ? answer.total.value : answer.hits.length;
  const narrowed = Object.keys(state.filter).length > 0;
  if (!total && !state.query && !narrowed && !state.page && !answer.partitions.failed.length) return welcome();
  $("hits").append(...answer.hits.map(card));
  const least = answer.total && answer.total.relation === "gte" ? "at least " : "";
  const found = state.query || narrowed ? plural(total, "hit") : plural(total, "document");
  const { failed, total: partitions, answered } = answer.partitions;
  $("status").textContent = `${least}${found} · ${answered} of ${plural(partitions, "partition")}, ${count(answer.took_ms)} ms`;
  if (failed.length) {
    const reasons = failed.slice(0, 8).map(({ partition, reason }) => element("li", { textContent: `Partition ${partition}: ${reason}` }));
    $("partial").replaceChildren("Some partitions did not answer: hits may be missing.", element("ul", {}, ...reasons));
    show($("partial"), true);
  }
  if (!answer.hits.length) {
    if (state.page) empty("No more hits", "Go back a page.");
    else if (narrowed) empty("Nothing found", "Give up one of the chosen values above.");
    else empty("Nothing found", "Try fewer or other words; words are joined by OR already.");
  }
  const last = Math.max(0, Math.ceil(Math.min(total, MAX_OFFSET + PAGE_SIZE) / PAGE_SIZE) - 1);
  $("page").textContent = `Page ${count(state.page + 1)} of ${count(Math.max(last, state.page) + 1)}`;
  $("previous").disabled = state.page === 0;
  $("next").disabled = state.page >= last;
  show($("pager"), last > 0 || state.page > 0);
  show($("snippets"), true);
  showSnippets();
  showFacets(answer.hits);
}

function fail(error) {
  wipe();
  show($("facets"), false);
  if (error.status === 401) {
    $("status").textContent = "";
    $("lock-detail").textContent = key ? "The one you gave was refused." : "It is kept until you close this tab.";
    show($("lock"), true);
    $("key").focus();
    return;
  }
  $("status").textContent = error.code === "unknown_index" ? "There is no such index." : "The search failed.";
  $("error").textContent = error.message;
  show($("error"), true);
}

function busy(on) {
  document.body.classList.toggle("busy", on);
  document.body.classList.toggle("stale", on);
  $("hits").setAttribute("aria-busy", String(on));
}

/** Searches for what the state says; a search that is still under way is cancelled. */
async function search({ push = false } = {}) {
  clearTimeout(timer);
  if (running) running.abort();
  writeAddress(push);
  show($("clear"), $("query").value !== "");
  if (!state.index) return;
  const mine = running = new AbortController();
  busy(true);
  try {
    const body = JSON.stringify(searchRequest());
    const answer = await ask(pathOf(state.index, "/search"), { method: "POST", body, signal: mine.signal });
    // A later search may have begun while the body was read.
    if (running === mine) render(answer);
  } catch (error) {
    if (error.name === "AbortError" || running !== mine) return;
    fail(error);
  }
  if (running === mine) {
    running = null;
    busy(false);
  }
}

async function loadIndexes() {
  try {
    indexes = (await ask("indexes")).indexes;
  } catch (error) {
    fail(error);
    return;
  }
  show($("lock"), false);
  const names = indexes.map(({ name }) => name);
  // A link to an index that is gone says so, instead of showing another one.
  if (state.index && !names.includes(state.index)) names.push(state.index);
  $("index").replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
  $("index").disabled = names.length === 0;
  show($("chooser"), names.length > 0);
  state.index = state.index || names[0] || "";
  $("index").value = state.index;
  if (names.length) await search();
  else welcome();
}

function turn(pages) {
  state.page += pages;
  search({ push: true });
  scrollTo({ top: 0 });
  $("results").focus({ preventScroll: true });
}
