"""The ways of a shopper that lead to a purchase, on the site and in the app alike.

Invariant: one cart goes through them with its id and its amounts, so a funnel's steps fit together.
"""

from collections.abc import Iterator

from appliance.domain.shop.catalogue import pick
from appliance.domain.shop.steps import (
    COMING,
    Cart,
    Custom,
    Journey,
    Line,
    Step,
    Tour,
    address_of,
    money,
    told_of,
)

CHECKOUT = "/checkout"


def look(tour: Tour, number: int) -> Journey:
    """Look at a list and at products of it."""
    category = pick(tour.dice).category
    yield Step(
        kind="product_list_viewed",
        path=f"/plants/{category}",
        custom={"listId": category, "category": category, "itemCount": tour.dice.randint(6, 24)},
    )
    for _ in range(number):
        yield _viewed(tour)


def fill_cart(tour: Tour, lines: int) -> Iterator[Step | Cart]:
    """Collect products; ends with the cart."""
    name = tour.new_id("cart")
    found: list[Line] = []
    for _ in range(lines):
        product = pick(tour.dice)
        quantity = tour.dice.choices((1, 2, 3), weights=(75, 18, 7))[0]
        found.append(Line(product=product, quantity=quantity))
        told = told_of(product)
        seen: Custom = {**told, "productName": product.name}
        yield Step(kind="product_viewed", path=address_of(product), custom=seen)
        added: Custom = {**told, "cartId": name, "quantity": quantity}
        yield Step(kind="add_to_cart", path=address_of(product), custom=added)
    cart = Cart(id=name, lines=tuple(found))
    shown: Custom = {"cartId": name, "itemCount": len(found), **money(cart.amount)}
    yield Step(kind="cart_viewed", path="/cart", custom=shown)
    yield cart


def abandon_cart(tour: Tour) -> Journey:
    """Collect, and leave it there."""
    for one in fill_cart(tour, tour.dice.randint(1, 3)):
        if isinstance(one, Cart):
            tour.keep("cart", one.id, cart=one)
        else:
            yield one


def abandon_checkout(tour: Tour) -> Journey:
    """Begin to pay, and think better of it."""
    for one in fill_cart(tour, tour.dice.randint(1, 2)):
        if isinstance(one, Cart):
            yield from _check_out(tour, one, steps=tour.dice.randint(1, 2), amount=one.amount)
            tour.keep("cart", one.id, cart=one)
        else:
            yield one


def purchase(tour: Tour) -> Journey:
    """Buy what was left in the cart, or one thing."""
    left = tour.taken("cart")
    if left is not None and left.cart is not None:
        cart = left.cart
        shown: Custom = {"cartId": cart.id, "itemCount": len(cart.lines), **money(cart.amount)}
        yield Step(kind="cart_viewed", path="/cart", custom=shown)
        yield from _pay(tour, cart, cart.amount)
        return
    for one in fill_cart(tour, 1):
        if isinstance(one, Cart):
            yield from _pay(tour, one, one.amount)
        else:
            yield one


def purchase_with_coupon(tour: Tour) -> Journey:
    """Buy several things at once, a little cheaper."""
    for one in fill_cart(tour, tour.dice.randint(2, 4)):
        if not isinstance(one, Cart):
            yield one
            continue
        off = round(one.amount * 0.1, 2)
        applied: Custom = {"couponId": "leaf10", "couponCode": "LEAF10", "cartId": one.id}
        applied |= {"discountAmount": off, "currency": "EUR"}
        yield Step(kind="coupon_applied", path="/cart", custom=applied)
        yield from _pay(tour, one, round(one.amount - off, 2))


def give_back(tour: Tour) -> Journey:
    """Have an order's money returned; without an order, look for help."""
    order = tour.taken("order")
    if order is None:
        yield Step(kind=COMING, path="/help/returns")
        return
    told: Custom = {"orderId": order.id, **money(order.amount)}
    told["reason"] = tour.dice.choice(("damaged", "too large", "changed my mind"))
    yield Step(kind="order_refunded", path="/account/orders", custom=told)


def _check_out(tour: Tour, cart: Cart, *, steps: int, amount: float) -> Journey:
    name = tour.new_id("checkout")
    begun: Custom = {"cartId": cart.id, "checkoutId": name, "itemCount": len(cart.lines)}
    begun |= {"productId": cart.lines[0].product.slug, **money(amount)}
    yield Step(kind="checkout_started", path=CHECKOUT, custom=begun)
    for index, step in enumerate(("address", "delivery", "payment")[:steps]):
        done: Custom = {"checkoutId": name, "step": step, "stepIndex": index}
        yield Step(kind="checkout_step_completed", path=f"{CHECKOUT}/{step}", custom=done)


def _pay(tour: Tour, cart: Cart, amount: float) -> Journey:
    yield from _check_out(tour, cart, steps=3, amount=amount)
    order, first = tour.new_id("order"), cart.lines[0]
    told: Custom = {**told_of(first.product), "orderId": order, "cartId": cart.id, **money(amount)}
    told["quantity"] = sum(line.quantity for line in cart.lines)
    told["paymentMethodType"] = tour.dice.choice(("card", "card", "wallet", "bank_transfer"))
    yield Step(kind="purchase", path=f"{CHECKOUT}/done", custom=told)
    tour.keep("order", order, amount=amount)


def _viewed(tour: Tour) -> Step:
    product = pick(tour.dice)
    told: Custom = {**told_of(product), "productName": product.name}
    return Step(kind="product_viewed", path=address_of(product), custom=told)
