"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  // plotly reads a few tags in texts
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorter = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const touch = matchMedia("(pointer: coarse)").matches;
  const DASHES = ["solid", "dot", "dash", "dashdot", "longdash", "longdashdot"];
  const CONFIG = {
    displaylogo: false, responsive: true, displayModeBar: touch ? true : "hover",
    modeBarButtons: [touch ? ["zoomIn2d", "zoomOut2d", "resetScale2d"] : ["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // theme: that of the system, until a reader chooses
  const stored = () => { try { return localStorage.getItem("dense-ssl-theme"); } catch { return null; } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  function setTheme(name) {
    root.dataset.theme = name;
    button.textContent = name === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to the ${button.textContent.toLowerCase()} theme`);
    all(".chart").forEach((chart) => chart.plot && chart.plot());
  }
  setTheme(stored() || (system.matches ? "dark" : "light"));
  system.addEventListener("change", (event) => stored() || setTheme(event.matches ? "dark" : "light"));
  button.addEventListener("click", () => {
    const name = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("dense-ssl-theme", name); } catch { /* a file may not store anything */ }
    setTheme(name);
  });

  // tables
  const value = (cell) => {
    const text = cell.dataset.sort;
    return text === "" ? null : isNaN(text) ? text : Number(text);
  };
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  for (const head of all("thead th")) {
    head.firstElementChild.addEventListener("click", () => {
      const place = head.cellIndex, body = head.closest("table").tBodies[0];
      const rows = [...body.rows].map((row) => [value(row.cells[place]), row]);
      const numeric = rows.some(([x]) => typeof x === "number");
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : numeric;
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // no value: always last
        return descending ? compare(b, a) : compare(a, b);
      });
      body.append(...rows.map(([, row]) => row));
    });
  }

  // pictures and commands
  const dialog = document.getElementById("large");
  for (const zoom of all(".zoom")) {
    zoom.addEventListener("click", () => {
      const [image, shown] = [zoom.firstElementChild, dialog.querySelector("img")];
      shown.src = image.src;
      shown.alt = dialog.querySelector("p").textContent = image.alt;
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  for (const copy of all("[data-copy]")) {
    copy.addEventListener("click", async () => {
      const code = copy.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        copy.textContent = "Selected";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  }

  // charts
  function layout(more) {
    const axis = {
      gridcolor: colour("--grid"), zerolinecolor: colour("--line"), linecolor: colour("--line"),
      automargin: true, tickfont: { size: 12, color: colour("--muted") },
    };
    return {
      height: 250, margin: { l: 46, r: 10, t: touch ? 32 : 8, b: 34 }, paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
      dragmode: touch ? false : "zoom", showlegend: false, hovermode: "closest",
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") }, namelength: 40 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--ink") },
      legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { size: 12 } },
      ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    };
  }

  function curves(data, chart) {
    const chips = all("[data-run]", chart.closest(".group"));
    const single = chips.length === 0;
    const hidden = new Set(chips.filter((x) => x.ariaPressed === "false").map((x) => Number(x.dataset.run)));
    const counts = {};
    const traces = data.curves.map((x, k) => {
      const before = counts[x.run] = (counts[x.run] ?? -1) + 1; // of the same run
      const [hue, dash] = single ? [k, Math.floor(k / 8)] : [x.run, before + Math.floor(x.run / 8)];
      return {
        x: x.x, y: x.y, type: "scatter", mode: x.x.length > 1 ? "lines" : "markers", visible: !hidden.has(x.run),
        name: escaped(shorter(x.label, 40)), hovertemplate: `${escaped(shorter(x.label, 60))}: %{y:.4g}<extra></extra>`,
        line: { width: 1.8, color: colour(`--c${hue % 8}`), dash: DASHES[dash % DASHES.length] }, marker: { size: 8 },
      };
    });
    const legend = single && traces.length > 1;
    const longest = Math.max(...data.curves.map((x) => x.label.length));
    const columns = Math.min(4, Math.max(1, Math.floor(340 / (58 + 6.8 * longest))));
    const rows = legend ? Math.ceil(traces.length / columns) : 0;
    const log = chart.querySelector("[data-log]");
    return [traces, layout({
      height: 250 + Math.max(rows - 1, 0) * 20, margin: { l: 46, r: 10, t: touch ? 32 : 8, b: 38 + rows * 20 }, showlegend: legend,
      legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top", entrywidth: columns === 1 ? 1 : 0.97 / columns, entrywidthmode: "fraction" },
      hovermode: traces.length <= 8 ? "x unified" : "closest",
      xaxis: { title: { text: "iteration", font: { size: 12, color: colour("--muted") }, standoff: 4 } },
      yaxis: { type: log && log.ariaPressed === "true" ? "log" : "linear" },
    })];
  }

  function bars(data) {
    const rows = [...data.rows].reverse(), names = rows.map((x) => escaped(x.name));
    const metrics = [...new Set(data.rows.flatMap((x) => Object.keys(x.values)))];
    const traces = metrics.map((metric, k) => ({
      type: "bar", orientation: "h", name: escaped(metric), marker: { color: colour(`--c${k % 8}`) },
      y: names, x: rows.map((x) => x.values[metric] ?? null), cliponaxis: false,
      hovertemplate: "%{y}: %{x:.1f}<extra></extra>", texttemplate: "%{x:.1f}", textposition: "outside",
    })).reverse();
    return [traces, layout({
      height: 70 + names.length * (12 + 17 * metrics.length), margin: { l: 20, r: 40, t: 34, b: 28 },
      barmode: "group", bargap: 0.3, showlegend: true,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "reversed" },
      xaxis: { rangemode: "tozero" }, yaxis: { type: "category", ticksuffix: "  ", gridcolor: "rgba(0,0,0,0)" },
    })];
  }

  function intervals(data) {
    const rows = [...data.rows].reverse(), names = rows.map((x) => escaped(x.name));
    const dots = rows.flatMap((x) => x.values.map((y) => [escaped(x.name), y]));
    const traces = [
      { type: "scatter", mode: "markers", y: dots.map((x) => x[0]), x: dots.map((x) => x[1]), hovertemplate: "%{y}: %{x:.2f}<extra></extra>",
        marker: { size: 6, color: colour("--c0"), opacity: 0.45 } },
      { type: "scatter", mode: "markers", y: names, x: rows.map((x) => x.mean), hovertemplate: "%{y}: mean %{x:.2f}<extra></extra>",
        marker: { size: 10, color: colour("--c0") },
        error_x: { type: "data", symmetric: false, thickness: 2, width: 5, color: colour("--c0"),
          array: rows.map((x) => (x.high === null ? 0 : x.high - x.mean)), arrayminus: rows.map((x) => (x.low === null ? 0 : x.mean - x.low)) } },
    ];
    const line = data.base === null ? [] : [{ type: "line", x0: data.base, x1: data.base, yref: "paper", y0: 0, y1: 1, line: { color: colour("--muted"), width: 1.5, dash: "dash" } }];
    return [traces, layout({ height: 70 + names.length * 30, margin: { l: 20, r: 14, t: 8, b: 34 }, shapes: line,
      yaxis: { type: "category", ticksuffix: "  ", range: [-0.6, names.length - 0.4] } })];
  }

  const KINDS = { curves, bars, intervals };
  function prepare(chart) {
    const place = chart.querySelector(".plot");
    const data = JSON.parse(chart.querySelector("script").textContent);
    chart.plot = () => {
      const kind = chart.dataset.kind;
      const config = { ...CONFIG, ...(touch && kind !== "curves" && { displayModeBar: false }) };
      if (place.offsetParent !== null) Plotly.react(place, ...KINDS[kind](data, chart), config);
    };
    chart.plot();
  }
  for (const toggle of all("[data-log], [data-run]")) {
    toggle.addEventListener("click", () => {
      toggle.ariaPressed = String(toggle.ariaPressed !== "true");
      const shown = toggle.closest(".chart") ? [toggle.closest(".chart")] : all(".chart", toggle.closest(".group"));
      shown.forEach((chart) => chart.plot());
    });
  }
  for (const fold of all("details")) fold.addEventListener("toggle", () => all(".chart", fold).forEach((x) => x.plot && x.plot()));

  async function start() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (x) => x.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.nonce = document.getElementById("plotly").nonce;
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    all(".chart").forEach(prepare);
    root.dataset.ready = "charts";
  }
  if (all(".chart").length) start(); else root.dataset.ready = "charts";

  // the section that is read
  const links = new Map(all(".bar nav a").map((x) => [x.hash.slice(1), x]));
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((x) => x.removeAttribute("aria-current"));
      const link = links.get(entry.target.id);
      if (link) link.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("section").forEach((x) => observer.observe(x));
})();
