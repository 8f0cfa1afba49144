"""How models of demand are trained: sales read by Spark, made into series, learnt from, judged, kept and promoted."""
