"""HTML taken apart, to check what the report makes of hostile text."""

import html.parser


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, words outside of scripts, and scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.scripts, self._inside = [], [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_comment(self, data):
        self.elements.append(("comment", {}))

    def handle_data(self, data):
        (self.scripts if self._inside == "script" else self.words).append(data)

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def tags(self):
        return {tag for tag, _ in self.elements}

    @property
    def attributes(self):
        return {name for _, attributes in self.elements for name in attributes}
