"""Registers the shipped plugins by name; imports nothing heavy. Entry point ``shipped`` of group ``mmgrec``."""

from __future__ import annotations

from mmgrec.hookspecs import Register, hookimpl


@hookimpl
def mmgrec_quantizers(register: Register) -> None:
    home = "mmgrec_plugins.quantizers"
    register(
        "graph-rqvae",
        f"{home}.graph_rqvae:GraphRQVAE",
        summary="graph representations, residual quantization (the paper's)",
    )
    register(
        "rqvae", f"{home}.rqvae:RQVAE", summary="residual quantization of the features alone (the paper's 'ID w/o')"
    )
    register("rq-kmeans", f"{home}.rq_kmeans:RQKMeans", summary="residual k-means over graph representations")
    register(
        "hk-means",
        f"{home}.hk_means:HKMeans",
        summary="hierarchical k-means over graph representations (the paper's rival)",
    )


@hookimpl
def mmgrec_collision_resolvers(register: Register) -> None:
    home = "mmgrec_plugins.collisions"
    register(
        "popularity", f"{home}.popularity:ByPopularity", summary="rank of popularity within the group (Eqs. 11, 12)"
    )
    register("random", f"{home}.random_order:RandomOrder", summary="random order within the group (TIGER's way)")


@hookimpl
def mmgrec_item_memories(register: Register) -> None:
    home = "mmgrec_plugins.memories"
    register(
        "local-ridge",
        f"{home}.local_ridge:LocalRidge",
        summary="a ridge for each item over its nearest items, by users, features and order",
    )
    register("ease", f"{home}.ease:EASEMemory", summary="the strongest item-item weights of the closed form EASE")
    register("none", "mmgrec.interfaces:NoMemory", summary="no memory: the generator alone")


@hookimpl
def mmgrec_positional_schemes(register: Register) -> None:
    home = "mmgrec_plugins.positions"
    register(
        "relation-aware",
        f"{home}.relation_aware:RelationAware",
        summary="user-gained relations between items (Eqs. 14-19)",
    )
    register("sinusoidal", f"{home}.sinusoidal:Sinusoidal", summary="absolute positions added to the input")
    register("none", f"{home}.none:NoPosition", summary="plain attention over a set")


@hookimpl
def mmgrec_decoders(register: Register) -> None:
    home = "mmgrec_plugins.decoders"
    register("trie-beam", f"{home}.trie_beam:TrieBeam", summary="beam search over existing Rec-IDs, exact exclusion")
    register("exact", f"{home}.exact:Exact", summary="the likelihood of every item: the oracle")
    register(
        "published-beam",
        f"{home}.published_beam:PublishedBeam",
        summary="the released code's search, without trie and exclusion: to measure what that costs",
    )


@hookimpl
def mmgrec_recommenders(register: Register) -> None:
    simple, graph, multimodal, sequential = (
        f"mmgrec_plugins.recommenders.{room}" for room in ("simple", "graph", "multimodal", "sequential")
    )
    register("mmgrec", "mmgrec.recommender:MMGRec", summary="the paper's method, from four parts")
    register("stage-1", f"{simple}.stage_1:Stage1", summary="mmgrec's representations ranked as they are")
    register("popularity", f"{simple}.popularity:Popularity", summary="most training interactions first")
    register("itemknn", f"{simple}.itemknn:ItemKNN", summary="cosine neighbours of items, shrunk")
    register("ease", f"{simple}.ease:EASE", summary="closed-form linear item-item model")
    register(
        "item-memory", f"{simple}.item_memory:ItemMemoryAlone", summary="a ridge for each item over its nearest items"
    )
    register("l3ae", f"{simple}.l3ae:L3AE", summary="EASE drawn towards what the features alone say (CIKM 2025)")
    register("mf", f"{graph}.mf:MF", summary="matrix factorisation with the BPR loss")
    register("vbpr", f"{multimodal}.vbpr:VBPR", summary="matrix factorisation with features beside it (AAAI 2016)")
    register("graphsage", f"{graph}.graphsage:GraphSAGE", summary="weighted mean of neighbours (NeurIPS 2017)")
    register("ngcf", f"{graph}.ngcf:NGCF", summary="graph propagation with weights and activations (SIGIR 2019)")
    register("gat", f"{graph}.gat:GAT", summary="attention over neighbours (ICLR 2018)")
    register("mmgcn", f"{multimodal}.mmgcn:MMGCN", summary="a user-item graph for each modality (MM 2019)")
    register("grcn", f"{multimodal}.grcn:GRCN", summary="user-item graph refined by the modalities (MM 2020)")
    register("lightgcn", f"{graph}.lightgcn:LightGCN", summary="linear propagation on the user-item graph")
    register("invrl", f"{multimodal}.invrl:InvRL", summary="features that predict alike in all environments (MM 2022)")
    register("bm3", f"{multimodal}.bm3:BM3", summary="bootstrapped alignment of modalities, no negatives (WWW 2023)")
    register(
        "lightgt", f"{multimodal}.lightgt:LightGT", summary="Transformers over histories, one a modality (SIGIR 2023)"
    )
    register("lattice", f"{multimodal}.lattice:LATTICE", summary="item graphs learnt from the features (MM 2021)")
    register(
        "sasrec", f"{sequential}.sasrec:SASRec", summary="causal self-attention over the order of items (ICDM 2018)"
    )
    register(
        "tiger", f"{sequential}.tiger:TIGER", summary="tokens of the history in, of the next item out (NeurIPS 2023)"
    )
    register("pgl", f"{multimodal}.pgl:PGL", summary="trained on a principal subgraph, asked on the whole (AAAI 2025)")
    register("freedom", f"{multimodal}.freedom:FREEDOM", summary="frozen item graph, pruned user-item graph (MM 2023)")


@hookimpl
def mmgrec_datasets(register: Register) -> None:
    register(
        "synthetic",
        "mmgrec_plugins.datasets.synthetic:Synthetic",
        summary="planted tastes, modalities and popularity; seeded",
    )
    register("folder", "mmgrec_plugins.datasets.folder:Folder", summary="the canonical folder: Parquet and .npy")
    home = "mmgrec_plugins.datasets"
    register("csv", f"{home}.tables:Csv", summary="text with separators, columns named or guessed")
    register("parquet", f"{home}.tables:ParquetTable", summary="a Parquet file, columns named or guessed")
    register("recbole", f"{home}.recbole:RecBole", summary="atomic files: .inter, .item, typed names")
    register("mmrec", f"{home}.mmrec:MMRec", summary=".inter with x_label, *_feat.npy")
    register("movielens", f"{home}.movielens:MovieLens", summary="ratings.dat, ratings.csv, u.data")
    register("amazon-reviews", f"{home}.amazon_reviews:AmazonReviews", summary="reviews of 2014, 2018 and 2023")
    register("microlens", f"{home}.microlens:MicroLens", summary="pairs of user, item and time")


@hookimpl
def mmgrec_metrics(register: Register) -> None:
    home = "mmgrec_plugins.metrics.shipped"
    register("recall", f"{home}:Recall", summary="share of the relevant items that are found")
    register("ndcg", f"{home}:NDCG", summary="discounted gain over the ideal order")
    register("precision", f"{home}:Precision", summary="share of the list that is relevant")
    register("hit-rate", f"{home}:HitRate", summary="share of users with a relevant item")
    register("mrr", f"{home}:MRR", summary="reciprocal rank of the first relevant item")
    register("coverage", f"{home}:Coverage", summary="share of the catalogue that is recommended to somebody")
    register("novelty", f"{home}:Novelty", summary="self-information of the recommended items")
    register("popularity-bias", f"{home}:PopularityBias", summary="mean popularity percentile of the recommended items")
