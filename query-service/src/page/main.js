// What happens when.

$("query").addEventListener("input", () => {
  show($("clear"), $("query").value !== "");
  clearTimeout(timer);
  timer = setTimeout(() => {
    const query = $("query").value.trim();
    if (query === state.query && state.page === 0) return;
    Object.assign(state, { query, page: 0 });
    search();
  }, DEBOUNCE_MS);
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  Object.assign(state, { query: $("query").value.trim(), page: 0 });
  search({ push: true });
});
$("index").addEventListener("change", () => {
  Object.assign(state, { index: $("index").value, page: 0, filter: {} });
  show($("facets"), false);
  search({ push: true });
});
function clear() {
  $("query").value = "";
  Object.assign(state, { query: "", page: 0 });
  search();
  $("query").focus();
}
$("clear").addEventListener("click", clear);
$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
$("snippets").addEventListener("toggle", showSnippets);
$("publish-toggle").addEventListener("click", () => showPublish($("publish").hidden));
$("publish-close").addEventListener("click", () => { showPublish(false); $("publish-toggle").focus(); });
$("publish-form").addEventListener("submit", publish);
$("lock-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  $("key").value = "";
  try { sessionStorage.setItem(KEY, key); } catch { /* As above. */ }
  loadIndexes();
});
addEventListener("popstate", () => {
  readAddress();
  $("index").value = state.index;
  search();
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("query").focus();
    $("query").select();
  } else if (event.key === "Escape" && document.activeElement === $("query") && $("query").value) {
    event.preventDefault();
    clear();
  } else if (event.key === "Escape" && $("publish").contains(document.activeElement)) {
    event.preventDefault();
    showPublish(false);
    $("publish-toggle").focus();
  } else if (moveAmongHits(event)) {
    event.preventDefault();
  }
});

readAddress();
loadIndexes();
