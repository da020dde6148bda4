from .assignment import ConnectedPhone as ConnectedPhone
from .assignment import assign_phones as assign_phones
from .assignment import connected_phones as connected_phones
from .bundle import Bundle as Bundle
from .bundle import (
    build_android as build_android,
)
from .bundle import (
    fetch_wheel as fetch_wheel,
)
from .bundle import (
    glibc_bundle as glibc_bundle,
)
from .doctor import examine as examine
from .phone import Phone as Phone
