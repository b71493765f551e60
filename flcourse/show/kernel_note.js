/** The browser's half of KernelNote (notes.py): a line that appears when the kernel has ended. */

const make = maker("note");

function render({ model, el }) {
  const line = make("div", "line", { role: "alert" });
  el.classList.add("flcourse-widget");
  el.hidden = true;
  el.append(line);
  return attend(model, () => {
    line.textContent = ENDED;
    el.hidden = false;
  });
}

export default { render };
