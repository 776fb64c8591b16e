"""What a page of HTML holds."""

import html.parser


class Page(html.parser.HTMLParser):
    """Collects the tags, the text, the scripts and the addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.addresses, self.missing_alt, self.scripts = [], "", [], 0, []
        self.alternatives = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "srcset", "href")]
        self.alternatives += [value for name, value in attrs if name == "alt"]
        # The script gives its own two an alternative, with the picture.
        self.missing_alt += tag == "img" and not (dict(attrs).get("alt") or "data-part" in dict(attrs))

    def handle_data(self, data):
        if self.lasttag == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def handle_endtag(self, tag):
        self.lasttag = ""
