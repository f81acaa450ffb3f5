// One hit as a card. Nothing of a document is ever HTML here.

/** Passages are HTML with nothing but <b>; they are rebuilt from their text, so that nothing else ever counts. */
function passage(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html").body;
  return [...parsed.childNodes].map((node) =>
    node.nodeName === "B" ? element("mark", { textContent: node.textContent }) : document.createTextNode(node.textContent));
}

function titleOf(hit) {
  const name = ["title", "name", "subject", "headline", "label"].find((field) => isText(hit.document[field]));
  return { name, text: name ? hit.document[name] : hit.id };
}

function linkOf(hit) {
  const text = ["url", "link", "homepage", "href"].map((field) => hit.document[field]).find(isText);
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** The passages in which the words were found, else the beginning of the longest text. */
function passagesOf(hit, title) {
  const found = Object.entries(hit.highlights || {}).filter(([field]) => field !== title.name).slice(0, 3);
  if (found.length) {
    return found.map(([field, texts]) => {
      const pieces = texts.slice(0, 2).flatMap((html, number) => [...(number ? [" … "] : []), ...passage(html)]);
      return element("p", { className: "passage" }, element("span", { className: "name", textContent: field }), ...pieces);
    });
  }
  const texts = Object.entries(hit.document).filter(([field, value]) => field !== title.name && isText(value) && value.length > 60);
  const [, longest] = texts.sort((a, b) => b[1].length - a[1].length)[0] || [];
  if (!longest) return [];
  const text = longest.length > 240 ? `${longest.slice(0, 240).trimEnd()}…` : longest;
  return [element("p", { className: "passage", textContent: text })];
}

/** Short values, for a glance. */
function factsOf(hit, title) {
  const isFact = ([field, value]) => field !== title.name && value !== hit.id
    && ((isText(value) && value.length <= 40) || typeof value === "number" || typeof value === "boolean");
  return Object.entries(hit.document).filter(isFact).slice(0, 5)
    .map(([field, value]) => element("li", {}, element("b", { textContent: field }), String(value)));
}

function card(hit) {
  const title = titleOf(hit), link = linkOf(hit);
  const titles = (title.name && (hit.highlights || {})[title.name]) || [];
  const marked = titles.length === 1 ? passage(titles[0]) : null;
  // A passage may be a piece of a long title; the whole is shown then.
  const whole = marked && marked.map((node) => node.textContent).join("") === title.text;
  const heading = whole ? marked : [title.text];
  const facts = factsOf(hit, title);
  const details = element("details", {}, element("summary", { textContent: "Document" }));
  details.addEventListener("toggle", () => {
    if (details.open && !details.querySelector("pre")) {
      details.append(element("pre", { textContent: JSON.stringify(hit.document, null, 2), tabIndex: 0 }));
    }
  });
  return element("li", { className: "hit", tabIndex: -1 },
    element("h2", {}, ...(link ? [element("a", { href: link, rel: "noopener noreferrer" }, ...heading)] : heading)),
    element("div", { className: "meta" },
      title.text === hit.id ? "" : element("span", { textContent: hit.id }),
      state.query && typeof hit.score === "number" ? element("span", { textContent: `score ${hit.score}`, title: "How well the document fits the words" }) : ""),
    ...passagesOf(hit, title),
    facts.length ? element("ul", { className: "facts" }, ...facts) : "",
    details);
}

/** Arrows go from hit to hit, Enter opens one, Escape goes back to the words. True if the key was for the hits. */
function moveAmongHits(event) {
  const hits = [...$("hits").children], at = hits.indexOf(document.activeElement);
  const down = event.key === "ArrowDown", up = event.key === "ArrowUp";
  if (document.activeElement === $("query") ? down && hits.length : at >= 0 && (down || up)) {
    const next = at + (down ? 1 : -1);
    const target = next < 0 ? $("query") : hits[Math.min(next, hits.length - 1)];
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "nearest" });
    return true;
  }
  if (at >= 0 && event.key === "Enter") {
    const details = hits[at].querySelector("details");
    const link = hits[at].querySelector("h2 a");
    if (link) link.click();
    else details.open = !details.open;
    return true;
  }
  if (at >= 0 && event.key === "Escape") {
    $("query").focus();
    return true;
  }
  return false;
}
