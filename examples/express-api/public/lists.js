// Lists that change while somebody reads them or has the focus in them.

/**
 * Makes a list show these items. An item that is there already keeps its element, so that a button in it keeps the focus.
 * Returns whether an element that had the focus is gone.
 */
export function renderList(list, items, { idOf, template, update }) {
  const known = new Map([...list.children].map((element) => [element.dataset.id, element]));
  const elements = items.map((item) => {
    const id = idOf(item);
    const element = known.get(id) ?? template.content.firstElementChild.cloneNode(true);
    known.delete(id);
    element.dataset.id = id;
    update(element, item);
    return element;
  });
  const lostFocus = [...known.values()].some((element) => element.contains(document.activeElement));
  for (const element of known.values()) element.remove();
  // Only what is not in its place moves: an element that moves loses the focus.
  let place = list.firstElementChild;
  for (const element of elements) {
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  return lostFocus;
}

/** The element in an entry of a list that shows one field. */
export function fieldOf(element, name) {
  return element.querySelector(`[data-field=${name}]`);
}
