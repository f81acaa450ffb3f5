// Facets: the fields whose values tell hits apart, found by themselves, and clicked to narrow the search.
//
// They are asked for after the hits, in a request of their own: what goes wrong with them costs nothing else.

const MAX_FACETS = 5, MAX_VALUES = 8, MAX_LENGTH = 40;
let counting = null;

/** The fields that may be facets: what the definition says is a value, and what looks like one in the hits. */
function facetFields(hits) {
  const { fields = {}, id_field: id } = (indexes.find(({ name }) => name === state.index) || {}).definition || {};
  const defined = Object.entries(fields).filter(([, { type }]) => type === "keyword" || type === "boolean").map(([name]) => name);
  const seen = new Map();
  for (const [field, value] of hits.flatMap((hit) => Object.entries(hit.document))) {
    const values = [value].flat();
    const short = values.every((value) => typeof value === "boolean" || (isText(value) && value.length <= MAX_LENGTH));
    if (field !== id && !(field in fields) && short && !isDate(values[0])) seen.set(field, [...(seen.get(field) || []), ...values]);
  }
  // Titles differ from hit to hit, and say nothing of many.
  const dynamic = [...seen].filter(([, values]) => values.length >= Math.max(5, hits.length / 2) && new Set(values).size <= values.length * 0.7);
  return [...new Set([...Object.keys(state.filter), ...defined, ...dynamic.map(([field]) => field)])].slice(0, 20);
}

const isDate = (value) => typeof value === "string" && /^\d{4}-\d\d-\d\d/.test(value);

/** The part of a request that the chosen values make. */
function filterRequest() {
  const chosen = Object.entries(state.filter).map(([field, value]) => ({ term: { [field]: value } }));
  return chosen.length ? { filter: chosen.length === 1 ? chosen[0] : { bool: { filter: chosen } } } : {};
}

/** Chooses a value, or gives it up if it is chosen already. */
function choose(field, value) {
  const { [field]: chosen, ...others } = state.filter;
  Object.assign(state, { page: 0, filter: chosen === value ? others : { ...others, [field]: value } });
  search({ push: true });
}

function facet(field, buckets) {
  const values = buckets.slice(0, MAX_VALUES).map(({ key, key_as_string: text, doc_count: documents }) => {
    // What is true or false comes as 1 or 0 and a text.
    const value = text === "true" ? true : text === "false" ? false : key;
    const button = element("button", { type: "button", className: "value" }, String(text ?? key), element("small", { textContent: count(documents) }));
    button.setAttribute("aria-pressed", String(state.filter[field] === value));
    button.addEventListener("click", () => choose(field, value));
    return button;
  });
  return element("div", { className: "facet" }, element("span", { className: "name", textContent: field }), ...values);
}

/** Shows the values that are chosen, so that each can be given up whatever becomes of the counts. */
function showChosen() {
  const chosen = Object.entries(state.filter).map(([field, value]) => {
    const button = element("button", { type: "button", className: "value", textContent: `${value} ×`, ariaLabel: `Without ${field} ${value}` });
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => choose(field, value));
    return element("div", { className: "facet" }, element("span", { className: "name", textContent: field }), button);
  });
  $("facets").replaceChildren(...chosen);
  show($("facets"), chosen.length > 0);
}

async function showFacets(hits) {
  if (counting) counting.abort();
  const facets = facetFields(hits);
  if (!facets.length) return showChosen();
  // Those of the search before stay until the new ones come: nothing jumps while one types.
  if ($("facets").hidden) showChosen();
  const mine = counting = new AbortController();
  try {
    const body = JSON.stringify({ query: state.query, ...filterRequest(), facets, limit: 0, total: false, highlight: false, lenient: true });
    const { aggregations = {} } = await ask(pathOf(state.index, "/search"), { method: "POST", body, signal: mine.signal });
    if (counting !== mine) return;
    const telling = facets.map((field) => [field, (aggregations[field] || {}).buckets || []])
      .filter(([field, buckets]) => buckets.length > 1 || (field in state.filter && buckets.length));
    if (telling.length) $("facets").replaceChildren(...telling.slice(0, MAX_FACETS).map(([field, buckets]) => facet(field, buckets)));
    show($("facets"), telling.length > 0 || Object.keys(state.filter).length > 0);
  } catch (error) {
    if (counting !== mine || error.name === "AbortError") return;
    console.info(`no facets: ${error.message}`);
    showChosen();
  }
}
