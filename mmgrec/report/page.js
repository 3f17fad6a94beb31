"use strict";
// Draws each figure when it comes near the window, in the colours of the page's theme. Asks nothing of any network.
(() => {
  const figures = new Map(JSON.parse(document.getElementById("figures").textContent).map((one) => [one.id, one]));
  const hidden = new Map(); // data set -> places of models that are switched off
  const root = document.documentElement;
  const touch = matchMedia("(pointer: coarse)").matches;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  const axis = (own, theme) => ({
    gridcolor: theme.line, zerolinecolor: theme.line, linecolor: theme.line, tickcolor: theme.line,
    ...own, title: { ...(own.title || {}), standoff: 8, font: { color: theme.soft, size: 12 } },
  });

  function dressed(figure, narrow) {
    const names = ["ink", "soft", "line", "panel", "faint-bar", "strong-bar", "low", "middle", "high"];
    const theme = Object.fromEntries(names.map((name) => [name, colour(name)]));
    const data = figure.data.map((trace) => {
      const meta = trace.meta || {};
      const made = { ...trace };
      if (meta.theme) made.marker = { ...trace.marker, color: theme[`${meta.theme}-bar`] };
      if (trace.error_x) made.error_x = { ...trace.error_x, color: theme.ink };
      if (meta.scale) {
        const scale = meta.scale === "signed" ? [theme.low, theme.middle, theme.high] : [theme.middle, theme.high];
        made.colorscale = scale.map((one, place) => [place / (scale.length - 1), one]);
        made.colorbar = { ...trace.colorbar, outlinewidth: 0, tickfont: { color: theme.soft } };
      }
      if (meta.model !== undefined) made.visible = !(hidden.get(figure.sheet) || new Set()).has(meta.model);
      return made;
    });
    const layout = {
      ...figure.layout,
      autosize: true, showlegend: Boolean(figure.layout.showlegend), dragmode: touch ? false : "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12, color: theme.ink },
      margin: { l: narrow ? 48 : 58, r: 12, t: 28, b: 50 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: narrow ? 10.5 : 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.line, activecolor: theme.soft },
      hoverlabel: { bgcolor: theme.panel, bordercolor: theme.line, font: { color: theme.ink } },
      xaxis: axis(figure.layout.xaxis, theme), yaxis: axis(figure.layout.yaxis, theme),
    };
    return [data, layout];
  }

  const settings = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "resetScale2d"]] };
  function draw(place) {
    const figure = figures.get(place.id);
    if (!figure || !place.clientWidth) return;
    figure.drawn = true;
    const [data, layout] = dressed(figure, place.clientWidth < 480);
    const size = "print" in root.dataset ? { autosize: false, width: place.clientWidth, height: place.clientHeight } : {};
    Plotly.react(place, data, { ...layout, ...size }, settings);
  }
  const places = [...document.querySelectorAll(".plot")];
  const again = () => places.filter((one) => figures.get(one.id).drawn).forEach(draw);

  const near = new IntersectionObserver((seen) => {
    for (const one of seen) {
      if (one.isIntersecting && !figures.get(one.target.id).drawn) draw(one.target);
    }
  }, { rootMargin: "800px 0px" });
  places.forEach((one) => near.observe(one));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("beforeprint", () => { root.dataset.print = "1"; places.forEach(draw); });
  addEventListener("afterprint", () => { delete root.dataset.print; again(); dispatchEvent(new Event("resize")); });

  for (const button of document.querySelectorAll(".models button")) {
    button.addEventListener("click", () => {
      const sheet = button.dataset.sheet, model = Number(button.dataset.model);
      const off = hidden.get(sheet) || new Set();
      if (!off.delete(model)) off.add(model);
      hidden.set(sheet, off);
      button.setAttribute("aria-pressed", String(!off.has(model)));
      places.filter((one) => figures.get(one.id).drawn && figures.get(one.id).sheet === sheet).forEach(draw);
    });
  }
})();
