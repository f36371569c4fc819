"use strict";
// A pointer on one chart shows the values of all charts at the report that is nearest to it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const readout = document.getElementById("readout");
  const charts = [...document.querySelectorAll("svg[data-x]")].map((svg) => {
    const numbers = (name) => svg.dataset[name].split(" ").map(Number);
    const place = ([low, high, start, stop]) => (value) => start + ((value - low) / (high - low)) * (stop - start);
    const panel = svg.closest(".panel");
    return {
      svg, axis: numbers("x"), range: numbers("y"), x: place(numbers("x")), y: place(numbers("y")),
      cursor: svg.querySelector(".cursor"), dots: [...svg.querySelectorAll(".dot")],
      legend: [...panel.querySelectorAll("b")].map((shown) => ({ shown, last: shown.textContent })),
      columns: panel.dataset.columns.split(" ").map(Number),
    };
  });
  const nearest = (rows) => {
    let low = 0, high = data.rows.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.rows[middle] < rows) low = middle + 1; else high = middle;
    }
    return low > 0 && rows - data.rows[low - 1] < data.rows[low] - rows ? low - 1 : low;
  };
  const show = (at) => {
    for (const chart of charts) {
      const x = chart.x(data.rows[at]);
      chart.cursor.setAttribute("x1", x);
      chart.cursor.setAttribute("x2", x);
      chart.cursor.style.visibility = "visible";
      chart.columns.forEach((column, index) => {
        const [value, text] = [data.values[column][at], data.texts[column][at]];
        const seen = value !== null && value >= chart.range[0] && value <= chart.range[1];
        chart.dots[index].style.visibility = seen ? "visible" : "hidden";
        if (seen) {
          chart.dots[index].setAttribute("cx", x);
          chart.dots[index].setAttribute("cy", chart.y(value));
        }
        chart.legend[index].shown.textContent = text;
      });
    }
    readout.textContent = data.labels[at];
    readout.hidden = false;
  };
  const hide = () => {
    for (const chart of charts) {
      chart.cursor.style.visibility = "hidden";
      chart.dots.forEach((dot) => { dot.style.visibility = "hidden"; });
      chart.legend.forEach(({ shown, last }) => { shown.textContent = last; });
    }
    readout.hidden = true;
  };
  for (const { svg, axis: [low, high, left, right] } of charts) {
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      show(nearest(low + ((x - left) / (right - left)) * (high - low)));
    });
    svg.addEventListener("pointerleave", hide);
  }
})();
