"""An endpoint for the sample to call: a server of its own would be one more thing to start.

It is public, knows nothing of anybody, and answers from its query alone.
"""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET

PRICES = {"apple": 120, "bread": 350, "cheese": 990}  # cents


@require_GET
def quote(request: HttpRequest) -> JsonResponse:
    """What `qty` pieces of `sku` cost."""
    sku, qty = request.GET.get("sku", "")[:50], request.GET.get("qty", "1")
    if sku not in PRICES or not (qty.isascii() and qty.isdigit()) or len(qty) > 6:
        return JsonResponse({"error": f"sku is one of {', '.join(PRICES)}; qty a whole number"}, status=400)
    cents = PRICES[sku] * int(qty)
    return JsonResponse({"sku": sku, "qty": int(qty), "cents": cents, "needs_approval": cents > 5000})
