/* Refreshes the key figures of the overview. Without it the page is whole, and "Reload" does the same.
   It asks only while the page is seen, more seldom while the site does not answer, and says nothing aloud
   unless the state of the cache changes. */
"use strict";
(() => {
  const line = document.getElementById("cc-fresh");
  const menu = document.getElementById("cc-refresh");
  const status = document.getElementById("cc-status");
  if (!line || !menu) return;

  const STORED = "callcache.refresh";
  const LONGEST = 60000;
  const asOf = document.getElementById("cc-as-of");
  let timer = 0;
  let failures = 0;
  let asking = null;

  const say = (text) => {
    if (status.textContent !== text) status.textContent = text;
    status.hidden = !text;
  };

  const show = (facts) => {
    asOf.textContent = facts.as_of;
    for (const [name, figure, note, look] of facts.tiles) {
      const tile = document.querySelector(`[data-cc-tile="${name}"]`);
      if (!tile) continue;
      const shown = tile.querySelector(".cc-figure");
      shown.firstElementChild.textContent = figure;
      shown.classList.toggle("cc-bad", look === "bad");
      tile.querySelector(".cc-note").textContent = note;
    }
    say(facts.worst === line.dataset.worst ? "" : line.dataset.worse);
  };

  const ask = async () => {
    asking = new AbortController();
    const patience = setTimeout(() => asking.abort(), LONGEST);
    try {
      const answer = await fetch(line.dataset.url, { signal: asking.signal, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      show(await answer.json());
      failures = 0;
    } catch {
      if (document.hidden) return; // stopped by ourselves
      failures += 1;
      if (failures > 1) say(line.dataset.late.replace("%s", asOf.textContent));
    } finally {
      clearTimeout(patience);
      plan();
    }
  };

  const plan = () => {
    clearTimeout(timer);
    const every = Number(menu.value) * 1000;
    if (every && !document.hidden) timer = setTimeout(ask, Math.max(every, Math.min(every * 2 ** failures, LONGEST)));
  };

  const stop = () => {
    clearTimeout(timer);
    if (asking) asking.abort();
  };

  try {
    const chosen = localStorage.getItem(STORED);
    menu.value = menu.querySelector(`option[value="${Number(chosen)}"]`) && chosen !== null ? chosen : "5";
  } catch {
    menu.value = "5";
  }
  menu.closest("label").hidden = false;
  menu.addEventListener("change", () => {
    try {
      localStorage.setItem(STORED, menu.value);
    } catch {
      /* a browser that keeps nothing asks anew on each page */
    }
    plan();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else if (menu.value !== "0") ask();
  });
  plan();
})();

/* Follows a deletion in the background; its page is whole without, and has a link that reloads it. */
(() => {
  const notice = document.getElementById("cc-progress");
  if (!notice) return;
  const EVERY = 2000;

  const ask = async () => {
    if (document.hidden) return plan();
    try {
      const answer = await fetch(notice.dataset.url, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const facts = await answer.json();
      const bar = document.getElementById("cc-share");
      if (facts.outcome !== notice.dataset.outcome || !bar) return location.reload();
      bar.value = facts.percent;
      document.getElementById("cc-percent").textContent = facts.percent;
      document.getElementById("cc-deleted").textContent = facts.deleted;
    } catch {
      /* the next time */
    }
    plan();
  };

  const plan = () => setTimeout(ask, EVERY);
  plan();
})();

/* Remembers the last ten searches for keys in this browser, and nowhere else. */
(() => {
  const list = document.getElementById("cc-recent");
  if (!list) return;
  const { alias, search } = list.dataset;
  const STORED = `callcache.searches.${alias}`;
  const MOST = 10;

  const remembered = () => {
    const found = JSON.parse(localStorage.getItem(STORED) || "[]");
    return Array.isArray(found) ? found.filter((text) => typeof text === "string") : [];
  };

  const show = (searches) => {
    const others = searches.filter((text) => text !== search);
    list.hidden = !others.length;
    list.querySelector("ul").replaceChildren(
      ...others.map((text) => {
        const link = document.createElement("a");
        link.href = `?${new URLSearchParams({ alias, q: text })}`;
        link.textContent = text;
        link.dir = "ltr";
        const item = document.createElement("li");
        item.append(link);
        return item;
      }),
    );
  };

  try {
    const searches = [...new Set([search, ...remembered()])].filter(Boolean).slice(0, MOST);
    localStorage.setItem(STORED, JSON.stringify(searches));
    list.querySelector("button").addEventListener("click", () => {
      localStorage.removeItem(STORED);
      show([]);
    });
    show(searches);
  } catch {
    /* a browser that keeps nothing shows none */
  }
})();
