// Makes one document of all pages of the report, in the page that Chromium prints from.
"use strict";
({
  // Of `[{path, part}]` in order and the authors; returns the chapters' keys and titles.
  async assemble({ pages, authors }) {
    const here = document.baseURI;
    const chapters = [];
    for (const [place, { path, part }] of pages.entries()) {
      const url = new URL(`/${path}`, here);
      const text = await (await fetch(url)).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const base = page.createElement("base");
      base.href = url.href;
      page.head.prepend(base);
      const key = `chapter-${place}`;
      const article = page.querySelector("article.bd-article");
      const heading = article.querySelector("h1");
      heading.querySelectorAll(".headerlink").forEach((link) => link.remove());
      chapters.push({ key, part, url, page, article, title: heading.textContent.trim() });
    }
    const keys = new Map(chapters.map(({ url, key }) => [url.pathname, key]));
    keys.set("/index.html", chapters[0].key);
    chapters.forEach((chapter) => this.nameApart(chapter));
    const known = new Set(
      chapters.flatMap(({ article }) => [...article.querySelectorAll("[id]")].map((e) => e.id)),
    );
    chapters.forEach((chapter) => this.relink(chapter, keys, known));

    const title = chapters[0].title;
    const body = document.createElement("body");
    body.append(this.titlePage(title, authors), this.contents(chapters));
    for (const { key, article, title } of chapters) {
      article.id = key;
      article.style.page = key;
      const classes = "bd-content bd-article-container greencv-chapter";
      body.append(this.element("div", classes, article));
      const head = JSON.stringify(title).replaceAll("\\n", " ");
      this.style(`@page ${key} { @top-right { color: #555; content: ${head}; font: 8pt sans-serif } }`);
    }
    body.append(this.element("main", "bd-main", ...body.childNodes));
    document.body.replaceWith(body);
    document.title = title;
    document.documentElement.dataset.theme = "light";
    await this.formulas(chapters);
    await document.fonts.ready;
    await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
    return chapters.map(({ key, title }) => ({ key, title }));
  },

  // Two pages may name their sections, or parts of their drawings, alike.
  nameApart({ key, article }) {
    const own = new Set([...article.querySelectorAll("[id]")].map((element) => element.id));
    const rename = (id) => (own.has(id) ? `${key}--${id}` : id);
    const lists = ["aria-labelledby", "aria-describedby", "aria-controls", "for", "headers"];
    for (const element of article.querySelectorAll("*")) {
      if (element.id) element.id = rename(element.id);
      for (const { name, value } of [...element.attributes]) {
        if (lists.includes(name)) {
          element.setAttribute(name, value.split(/\s+/).map(rename).join(" "));
        } else if (value.includes("url(#")) {
          element.setAttribute(name, value.replace(/url\(#([^)]+)\)/g, (_, id) => `url(#${rename(id)})`));
        } else if (/^(xlink:)?href$/.test(name) && value.startsWith("#") && element.tagName !== "A") {
          element.setAttribute(name, `#${rename(value.slice(1))}`);
        }
      }
    }
  },

  // A link to another page leads to its chapter; one to a file beside the report leads nowhere here.
  relink({ key, article, url }, keys, known) {
    for (const image of article.querySelectorAll("img")) {
      image.src = image.src;
      image.loading = "eager";
    }
    article.querySelectorAll("script").forEach((script) => script.remove());
    for (const link of article.querySelectorAll("a[href]")) {
      const target = new URL(link.getAttribute("href"), url);
      if (target.origin !== url.origin) continue;
      const chapter = keys.get(target.pathname);
      const anchor = `${chapter}--${decodeURIComponent(target.hash.slice(1))}`;
      if (!chapter) link.removeAttribute("href");
      else link.setAttribute("href", `#${known.has(anchor) ? anchor : chapter}`);
    }
  },

  titlePage(title, authors) {
    const page = this.element("section", "greencv-title");
    page.append(this.element("p", "", title), this.element("p", "", authors));
    this.style(`
      .greencv-title { break-after: page; padding-top: 70mm; text-align: center; page: title }
      .greencv-title p:first-child { font-size: 26pt; line-height: 1.2; margin-bottom: 12mm }
      @page title { @bottom-center { content: none } }
      .greencv-chapter { break-before: page; display: block !important }
      .greencv-contents { page: contents }
      .greencv-contents ol { list-style: none; margin: 0; padding: 0 }
      .greencv-contents a { color: inherit; display: flex; justify-content: space-between;
        text-decoration: none }
      .greencv-contents .part { font-weight: bold; margin-top: 1em }`);
    return page;
  },

  contents(chapters) {
    const list = this.element("ol", "");
    let part = "";
    for (const chapter of chapters) {
      if (chapter.part !== part) {
        part = chapter.part;
        list.append(this.element("li", "part", part));
      }
      const title = this.element("span", "title", chapter.title);
      const link = this.element("a", "", title, this.element("span", "number"));
      link.href = `#${chapter.key}`;
      list.append(this.element("li", "", link));
    }
    return this.element("nav", "greencv-contents", this.element("h1", "", "Contents"), list);
  },

  // MathJax, with the settings of the first page that has it.
  async formulas(chapters) {
    const page = chapters.map((chapter) => chapter.page).find((p) => p.querySelector("script[src*=mathjax]"));
    if (!page) return;
    const settings = [...page.scripts].find((s) => s.textContent.startsWith("window.MathJax"));
    const own = document.createElement("script");
    own.textContent = settings ? settings.textContent : "";
    const script = document.createElement("script");
    script.src = page.querySelector("script[src*=mathjax]").src;
    const loaded = new Promise((done, failed) => {
      script.onload = done;
      script.onerror = () => failed(new Error("MathJax is not in the report"));
    });
    document.head.append(own, script);
    await loaded;
    await MathJax.startup.promise;
  },

  // What is wider than the page is made smaller until it fits.
  fit() {
    for (const element of document.querySelectorAll("table, mjx-container[display], pre")) {
      const room = element.closest(".bd-article-container").getBoundingClientRect();
      const { left, width } = element.getBoundingClientRect();
      const over = Math.max(width, element.scrollWidth) / (room.right - left);
      if (over > 1) element.style.zoom = String(Math.floor(98 / over) / 100);
    }
  },

  number(numbers) {
    document.querySelectorAll(".greencv-contents a .number").forEach((span, place) => {
      span.textContent = String(numbers[place]);
    });
  },

  element(tag, className, ...content) {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...content);
    return made;
  },

  style(text) {
    document.head.append(this.element("style", "", text));
  },
})
