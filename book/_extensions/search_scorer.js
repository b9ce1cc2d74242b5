// Scores of the search: pages come before entries of the programming interface, and a page is
// listed once, by its best hit. The numbers are Sphinx's own.
"use strict";
const REFERENCE = /^(book\/api\/|py-modindex|genindex)/;
var Scorer = {
  score: ([page, , , description, score]) =>
    REFERENCE.test(page) || description ? score / 1000 : score,
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
if (typeof Search !== "undefined") {
  const { _performSearch: perform, makeSearchSummary: summarise } = Search;
  Search._performSearch = (...query) => {
    const found = perform(...query); // the best hit is the last one
    const best = new Map(found.map((hit) => [hit[3] ? hit : hit[0], hit]));
    return found.filter((hit) => best.get(hit[3] ? hit : hit[0]) === hit);
  };
  // An entry of the index is an empty element: the summary is of the page then.
  Search.makeSearchSummary = (text, words, anchor) =>
    summarise(text, words, anchor?.startsWith("#index-") ? "" : anchor) ??
    document.createElement("p");
}
