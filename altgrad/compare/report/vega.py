"""The drawing library of the pages, out of the installed package: no address outside."""

from collections.abc import Callable


def javascript_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed`."""
    import vl_convert
    from altair.utils._importers import vl_version_for_vl_convert

    make_bundle: Callable[..., str] = vl_convert.javascript_bundle
    return make_bundle(vl_version=vl_version_for_vl_convert())


if __name__ == "__main__":
    print(javascript_bundle())
